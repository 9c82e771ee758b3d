"""A page per source file that others link to: every line with its number and anchor."""

from __future__ import annotations

import ast
from functools import cache

from resnet_spec.differences import DIFFERENCES

from resnet_parity.site.chapters import CHAPTERS
from resnet_parity.site.colour import coloured
from resnet_parity.site.columns import Line
from resnet_parity.site.definitions import FRAMEWORKS, module_file
from resnet_parity.site.render import render
from resnet_parity.site.results import ROOT


def source_pages() -> dict[str, str]:
    """Return every page of a source file by its path in the site."""
    return {source_page(file): _page(file) for file in files()}


def files() -> list[str]:
    """Return the files of the chapters and their tests, and of the tests that pin a difference."""
    found: dict[str, None] = {}
    for chapter in CHAPTERS:
        found |= dict.fromkeys((*chapter.sources, *chapter.tests))
        for module in chapter.modules:
            found |= dict.fromkeys(module_file(framework, module) for framework in FRAMEWORKS)
    return list(found | dict.fromkeys(row.test.partition("::")[0] for row in DIFFERENCES))


def source_page(file: str) -> str:
    """Return the path of a file's page in the site."""
    return f"source/{file.removesuffix('.py').replace('/', '.')}.html"


def link_to_test(test: str) -> str:
    """Return the path and anchor of a test of `differences.py` in the site."""
    file, _, name = test.partition("::")
    return f"{source_page(file)}#L{_lines_of_functions(file)[name]}"


@cache
def _lines_of_functions(file: str) -> dict[str, int]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return {node.name: node.lineno for node in tree.body if isinstance(node, ast.FunctionDef)}


def _page(file: str) -> str:
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    numbered = [
        Line(number, f"L{number}", len(text) - len(text.lstrip()), text, html)
        for number, (text, html) in enumerate(zip(lines, coloured(file), strict=True), start=1)
    ]
    return render(
        "source", title=file, page="source", root="../", lines=numbered, other=_other(file)
    )


def _other(file: str) -> dict[str, str] | None:
    """The counterpart of a file in the other implementation; None if it has none."""
    for ours, theirs in (("torch", "keras"), ("keras", "torch")):
        other = file.replace(ours, theirs)
        if other != file and other in files():
            return {"file": other, "href": f"../{source_page(other)}"}
    return None
