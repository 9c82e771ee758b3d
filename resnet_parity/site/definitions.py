"""Reads the definitions of source files and pairs those of both implementations."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace

from resnet_parity.site.results import ROOT
from resnet_parity.site.unpaired import UNPAIRED

FRAMEWORKS = {"torch": "PyTorch", "keras": "Keras"}

ADAPTER_MODULES = (
    "adapter",
    "modes",
    "gradients",
    "training_state",
    "runs",
    "images",
    "devices",
    "export",
    "ejected",
)
"""The paired modules that serve the checker; all others are in the two user packages."""


def module_file(framework: str, module: str) -> str:
    """Return the path of a paired module's source file, relative to the project."""
    if module in ADAPTER_MODULES:
        return f"resnet_parity/adapters/{framework}/{module}.py"
    return f"resnet_{framework}/{module}.py"


@dataclass(frozen=True)
class Definition:
    """A function, class or constant with its decorators and the comments above it.

    `first` is the number of its first line.
    """

    name: str
    file: str
    first: int
    lines: tuple[str, ...]

    @property
    def numbers(self) -> range:
        return range(self.first, self.first + len(self.lines))


@dataclass(frozen=True)
class Pair:
    """A definition in both implementations; if one has none, `why` gives the reason."""

    torch: Definition | None
    keras: Definition | None
    why: str = ""

    @property
    def name(self) -> str:
        either = self.torch or self.keras
        assert either is not None
        return either.name


def key(name: str) -> str:
    """Return the name by which definitions pair: `BasicBlock` and `basic_block` have one key.

    A constant such as `MODES` does not pair with a function `modes`.
    """
    return name if name.isupper() else name.replace("_", "").lower()


def definitions(file: str) -> list[Definition]:
    """Return the definitions of a file in order, without imports and the module docstring."""
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    found: list[Definition] = []
    tree = ast.parse("\n".join(lines))
    end = 0
    for node in tree.body:
        name = _name(node)
        if name is None:
            if found and _is_text(node) and node is not tree.body[0]:
                body = tuple(lines[found[-1].first - 1 : node.end_lineno])
                found[-1] = replace(found[-1], lines=body)
        else:
            decorators = getattr(node, "decorator_list", [])
            first = min([node.lineno, *(each.lineno for each in decorators)])
            while first - 1 > end and lines[first - 2].startswith("#"):
                first -= 1
            body = tuple(lines[first - 1 : node.end_lineno])
            found.append(Definition(name, file, first, body))
        end = node.end_lineno or end
    return found


def _name(node: ast.stmt) -> str | None:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return node.name
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign):
        targets = [node.target]
    return next((each.id for each in targets if isinstance(each, ast.Name)), None)


def _is_text(node: ast.stmt) -> bool:
    """Whether a node is a string statement, such as the text below a constant."""
    value = node.value if isinstance(node, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def pairs(module: str) -> Iterator[Pair]:
    """Yield the pairs of a module in the order of both files.

    An unpaired definition keeps its place in its own file.
    """
    torch, keras = (definitions(module_file(framework, module)) for framework in FRAMEWORKS)
    theirs = {key(each.name): each for each in keras}
    ours = {key(each.name) for each in torch}
    todo = list(keras)

    def alone(definition: Definition) -> str:
        return UNPAIRED.get((module, definition.name), "")

    for definition in torch:
        partner = theirs.get(key(definition.name))
        while partner is not None and todo and todo[0] is not partner:
            before = todo.pop(0)
            if key(before.name) not in ours:
                yield Pair(None, before, alone(before))
        if partner in todo:
            todo.remove(partner)
        yield Pair(definition, partner, "" if partner else alone(definition))
    for definition in todo:
        if key(definition.name) not in ours:
            yield Pair(None, definition, alone(definition))
