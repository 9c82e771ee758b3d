"""Python text as ruff formats it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace

from resnet_spec.differences import DIFFERENCES

COLUMNS = ContextVar("COLUMNS", default=88)
"""The longest line of code, by default that of ruff."""

_STEP = "    "
_SUMMARIES = {row.id: row.summary for row in DIFFERENCES}


@dataclass(frozen=True)
class Call:
    """A call such as `conv(x, 64, 7)`; `after` follows its closing parenthesis."""

    function: str
    arguments: tuple[str | Call, ...]
    after: str = ""

    def __str__(self) -> str:
        return f"{self.function}({', '.join(map(str, self.arguments))}){self.after}"


def call(function: str, *arguments: str | int | Call | None, after: str = "") -> Call:
    """A call of these arguments; None is left out."""
    given = (x if isinstance(x, Call) else str(x) for x in arguments if x is not None)
    return Call(function, tuple(given), after)


def code_lines(before: str, value: str | Call, indent: int, comment: str = "") -> list[str]:
    """The lines of a statement that ends with a value, wrapped where it is too long."""
    note = f"  # {comment}" if comment else ""
    lines = _wrapped(_STEP * indent + before, value, "", indent, len(note))
    return [*lines[:-1], lines[-1] + note]


def definition(name: str, parameters: Sequence[str], returns: str, indent: int = 0) -> list[str]:
    """The first lines of a function."""
    signature = call(name, *parameters, after=f" -> {returns}:")
    return _wrapped(f"{_STEP * indent}def ", signature, "", indent)


def remark(tag: str, indent: int = 1) -> str:
    """The comment on a difference of the frameworks, where they part."""
    return f"{_STEP * indent}# {_SUMMARIES[tag]}"


def docstring(text: str, indent: int = 1) -> Iterator[str]:
    """A docstring of one sentence, on one line or on two."""
    line = f'{_STEP * indent}"""{text}."""'
    if len(line) <= COLUMNS.get():
        yield line
        return
    first, _, rest = text.partition(": ")
    yield f'{_STEP * indent}"""{first}.'
    yield ""
    yield f"{_STEP * indent}{rest}."
    yield f'{_STEP * indent}"""'


def _wrapped(
    before: str, value: str | Call, after: str, indent: int, reserved: int = 0
) -> list[str]:
    """One line, else all arguments on a second one, else a line for each."""
    whole = f"{before}{value}{after}"
    if isinstance(value, str) or len(whole) + reserved <= COLUMNS.get():
        return [whole]
    inner = _STEP * (indent + 1)
    first = str(replace(value, after="")) + "("
    if (
        value.after.endswith(")") and len(before + first) <= COLUMNS.get()
    ):  # ruff splits the last call
        return [before + first, inner + value.after[1:-1], f"{_STEP * indent}){after}"]
    lines = [inner + ", ".join(map(str, value.arguments))]
    if len(lines[0]) > COLUMNS.get():
        nested = (_wrapped(inner, each, ",", indent + 1) for each in value.arguments)
        lines = [line for argument in nested for line in argument]
    return [f"{before}{value.function}(", *lines, f"{_STEP * indent}){value.after}{after}"]
