"""Python source in colours: Pygments' tokens, line by line, as HTML."""

from __future__ import annotations

from functools import cache
from html import escape

from pygments.lexers import PythonLexer
from pygments.token import STANDARD_TYPES, Token

from resnet_parity.site.results import ROOT


@cache
def coloured(file: str) -> tuple[str, ...]:
    """Every line of a file of the project as HTML; a token of several lines is coloured in each."""
    return tuple(coloured_text((ROOT / file).read_text(encoding="utf-8")))


def coloured_text(source: str) -> list[str]:
    """Every line of a text as HTML."""
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
"""Names, punctuation and blanks keep the colour of the text, and need no element."""


def _class(token) -> str:
    while token not in STANDARD_TYPES and token is not Token:
        token = token.parent
    name = STANDARD_TYPES.get(token, "")
    return "" if name in _PLAIN else name
