"""A page per source file that others link to: whole, every line with its number and anchor."""

from __future__ import annotations

import ast
from functools import cache

from resnet_spec.differences import DIFFERENCES

from resnet_parity.page.chapters import CHAPTERS
from resnet_parity.page.colour import coloured
from resnet_parity.page.columns import Line
from resnet_parity.page.definitions import HANDS
from resnet_parity.page.render import render
from resnet_parity.results import ROOT


def source_pages() -> dict[str, str]:
    """All of them, by their path in the site."""
    return {source_page(file): _page(file) for file in files()}


def files() -> list[str]:
    """Those of the chapters, and those of the tests that pin a difference."""
    found: dict[str, None] = {}
    for chapter in CHAPTERS:
        found |= dict.fromkeys(chapter.sources)
        for module in chapter.modules:
            found |= dict.fromkeys(f"resnet_{hand}/{module}.py" for hand in HANDS)
    return list(found | dict.fromkeys(_test_file(row.test) for row in DIFFERENCES))


def source_page(file: str) -> str:
    """The path of the page of a file."""
    return f"source/{file.removesuffix('.py').replace('/', '.')}.html"


def link_to_test(test: str) -> str:
    """Where a test of `differences.py` stands, as a path in the site."""
    file, name = _test_file(test), test.partition("::")[2]
    return f"{source_page(file)}#L{_lines_of_functions(file)[name]}"


def _test_file(test: str) -> str:
    return f"parity_tests/{test.partition('::')[0]}"


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
    """The same file of the other hand."""
    for ours, theirs in (("resnet_torch/", "resnet_keras/"), ("resnet_keras/", "resnet_torch/")):
        if file.startswith(ours):
            other = file.replace(ours, theirs)
            return {"file": other, "href": f"../{source_page(other)}"}
    return None
