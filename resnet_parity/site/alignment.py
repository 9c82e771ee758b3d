"""Aligns two definitions line by line: corresponding lines share a row, others have their own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby

from resnet_parity.site.definitions import key

Row = tuple[int | None, int | None]
"""The indices of a left and a right line that share a row; None where a side has no line."""

_WORD = re.compile(r"[A-Za-z_]\w*|\d+")
_CLASS = re.compile(r"\b([A-Z]\w*)\(")
_LEAST = 0.25
"""The smallest likeness of two lines that share a row."""


def align(left: Sequence[str], right: Sequence[str]) -> list[Row]:
    """Return the rows, in the order of both sides.

    The sum of `likeness` over all rows is the largest possible (Needleman and Wunsch 1970, with
    gaps that cost nothing).
    """
    best = [[0.0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i in range(len(left) - 1, -1, -1):
        for j in range(len(right) - 1, -1, -1):
            common = likeness(left[i], right[j])
            paired = best[i + 1][j + 1] + common if common >= _LEAST else 0.0
            best[i][j] = max(paired, best[i + 1][j], best[i][j + 1])
    rows: list[Row] = []
    i = j = 0
    while i < len(left) and j < len(right):
        common = likeness(left[i], right[j])
        if common >= _LEAST and best[i][j] == best[i + 1][j + 1] + common:
            rows.append((i, j))
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            rows.append((i, None))
            i += 1
        else:
            rows.append((None, j))
            j += 1
    rows += [(index, None) for index in range(i, len(left))]
    rows += [(None, index) for index in range(j, len(right))]
    return list(_filled(rows, left, right))


def _filled(rows: list[Row], left: Sequence[str], right: Sequence[str]) -> Iterator[Row]:
    """Pair unpaired runs too where both sides have as many lines, of the same kinds in order."""
    for both, run in groupby(rows, key=lambda row: None not in row):
        own = list(run)
        ours = [i for i, _ in own if i is not None]
        theirs = [j for _, j in own if j is not None]
        kinds = [_kind(left[i]) for i in ours], [_kind(right[j]) for j in theirs]
        yield from own if both or kinds[0] != kinds[1] else zip(ours, theirs, strict=True)


@lru_cache(maxsize=1 << 16)
def likeness(left: str, right: str) -> float:
    """Return what two lines have in common, from 0 (nothing) to 1 (the same text)."""
    if left.strip() == right.strip():
        return 1.0 if left.strip() else 0.3  # an empty line says little about its neighbours
    if _defined(left) and _defined(left) == _defined(right):
        return 1.0
    ours, theirs = _words(left), _words(right)
    if not ours or not theirs:
        return 0.0
    both = len(ours & theirs) / len(ours | theirs)
    if _classes(left) & _classes(right):
        both = max(both, 0.6)
    return 0.9 * both if _kind(left) == _kind(right) else 0.4 * both


_COMMON = {"self", "spec", "x", "nn", "layers", "return"}
"""Words so frequent that they say nothing about what a line does."""

_SYNONYMS = (("2d", ""), ("3d", ""), ("pooling", "pool"), ("normalization", "norm"), ("_", ""))


def _words(line: str) -> frozenset[str]:
    words = {word.lower() for word in _WORD.findall(line)} - _COMMON
    for theirs, ours in _SYNONYMS:
        words = {word.replace(theirs, ours) for word in words}
    return frozenset(words)


def _classes(line: str) -> frozenset[str]:
    """The words of the classes that a line calls; `BatchNorm2d` and `BatchNormalization` agree."""
    return frozenset(word for name in _CLASS.findall(line) for word in _words(name))


def _kind(line: str) -> str:
    """The kind of a line by its start: comment, docstring, decorator, branch, attribute or code."""
    text = line.strip()
    word = text.partition(" ")[0]
    if word in _BRANCHES:
        return "branch"
    if word.startswith("self."):
        return "attribute"
    return text[:1] if text[:1] in '#"@' else "code"


_BRANCHES = {"if", "elif", "for", "while", "with", "try:", "else:"}


def _defined(line: str) -> str:
    """The name that a line defines, in the form that both implementations share."""
    found = re.match(r"(?:class|def) (\w+)", line)
    return key(found[1]) if found else ""
