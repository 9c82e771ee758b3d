"""The type stubs of the two user packages, for editors and type checkers.

Their functions, such as `resnet_torch.resnet50`, are made from the registry when the package is
imported. Run as a module it writes `__init__.pyi` of both packages; with --check it only says
whether they are current.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import fields
from textwrap import indent

from resnet_spec import GROUPS, Architecture
from resnet_spec.constructors import describe

from resnet_parity.site.results import ROOT

_HEAD = '''"""Generated from the registry; scripts/generate writes it."""

from collections.abc import Iterable
from typing import TypedDict, Unpack

import {framework}

from resnet_spec import Architecture
from resnet_spec import list_models as list_models
from resnet_spec.components import (
    BlockKind,
    ConvBias,
    Shortcut,
    SqueezeRatio,
    Stage,
    Stem,
    ZeroPadding,
)

{exports}

class _Options(TypedDict, total=False):
{options}
'''

_FUNCTION = '''
def {name}({parameters}**options: Unpack[_Options]) -> {model}:
    """{doc}"""
'''


def stub(package: str) -> str:
    """The text of `__init__.pyi` of a package; read from its source, so no framework is needed."""
    create = _create_model(package)
    assert create.returns is not None
    model = ast.unparse(create.returns)
    options = {
        each.arg: ast.unparse(each.annotation) for each in create.args.kwonlyargs if each.annotation
    }
    options |= {f.name: str(f.type) for f in fields(Architecture) if f.name not in options}
    head = _HEAD.format(
        framework=package.removeprefix("resnet_"),
        exports="\n".join(_exports(package)),
        options="\n".join(f"    {name}: {kind}" for name, kind in options.items()),
    )
    rows = (row for group in GROUPS.values() for row in group)
    named = "architecture: str | Architecture, "
    doc = indent(ast.get_docstring(create) or "", "    ").strip() + "\n    "
    functions = (
        (create.name, named, doc),
        *((row.name, "", describe(row).splitlines()[0]) for row in rows),
    )
    return head + "".join(
        _FUNCTION.format(name=name, parameters=parameters, model=model, doc=text)
        for name, parameters, text in functions
    )


def _create_model(package: str) -> ast.FunctionDef:
    functions = (node for node in _tree(package, "model").body if isinstance(node, ast.FunctionDef))
    return next(node for node in functions if node.name == "create_model")


def _exports(package: str) -> Iterator[str]:
    """An import line for each name that the package takes from its own modules."""
    for node in _tree(package, "__init__").body:
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith(package):
            for alias in node.names:
                if alias.name != "create_model":
                    yield f"from {node.module} import {alias.name} as {alias.name}"


def _tree(package: str, module: str) -> ast.Module:
    return ast.parse((ROOT / package / f"{module}.py").read_text(encoding="utf-8"))


def main() -> int:
    """Bring both stubs up to date, or check that they are."""
    outdated = 0
    for package in ("resnet_torch", "resnet_keras"):
        path, text = ROOT / package / "__init__.pyi", stub(package)
        if "--check" not in sys.argv[1:]:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            print(f"{path.relative_to(ROOT)} is out of date; run scripts/generate", file=sys.stderr)
            outdated = 1
    return outdated


if __name__ == "__main__":
    sys.exit(main())
