"""Highlights Python source as HTML, line by line, with Pygments' tokens."""

from __future__ import annotations

from functools import cache
from html import escape

from pygments.lexers import PythonLexer
from pygments.token import STANDARD_TYPES, Token

from resnet_parity.site.results import ROOT


@cache
def coloured(file: str) -> tuple[str, ...]:
    """Return the lines of a project file as HTML; a token over several lines is split at each."""
    return tuple(coloured_text((ROOT / file).read_text(encoding="utf-8")))


def coloured_text(source: str) -> list[str]:
    """Return the lines of a text as HTML."""
    lines = [""]
    for token, text in PythonLexer(ensurenl=False, stripnl=False).get_tokens(source):
        name = _class(token)
        for index, part in enumerate(text.split("\n")):
            if index:
                lines.append("")
            if part:
                words = escape(part, quote=False)
                lines[-1] += f'<span class="{name}">{words}</span>' if name else words
    while lines and not lines[-1]:
        lines.pop()
    return lines


_PLAIN = ("", "n", "p", "w")
"""The classes of names, punctuation and blanks, which keep the colour of the text."""


def _class(token) -> str:
    while token not in STANDARD_TYPES and token is not Token:
        token = token.parent
    name = STANDARD_TYPES.get(token, "")
    return "" if name in _PLAIN else name
