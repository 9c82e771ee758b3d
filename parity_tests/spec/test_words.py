"""The project uses the field's words: no home-made word in names, messages, pages or documents."""

from __future__ import annotations

import ast
import re
import subprocess
from functools import cache

import pytest

from parity_tests.support import ROOT

TEXT = {".py", ".pyi", ".md", ".html", ".js", ".css", ".toml", ".sh", ""}

FORBIDDEN = {
    r"hands?": "implementation, or framework in code",
    r"judg\w+|judge": "checker, or the name of the command",
    r"rungs?|ladders?|climb\w*": "check, checks, run",
    r"floors?": "noise floor",
    r"doctors?|patients?|mends?|mended|suspects?": "diagnose, loaded model, fix, candidate",
    r"seals?|sealed|unsealed|meeting|recognis\w+|census": "metadata, report, identify, inspect",
    r"trainees?|mailbox|courses?": "training state, remote worker, workload",
    r"obstacles?|excus\w+": "unsupported reason, waiver",
    r"stands? in|stood in|stand_in|stands_in": "fallback mode",
    r"foreign|adaptation": "weights.<library>, weights.adapt",
    r"damages?|phrase book|phrases?|living spec": "impact, cookbook, architecture explorer",
    r"behind|told|ways? around|way_around|so many": "after, reported, shortcut, the number",
}
"""A pattern of whole words, and what to write instead (`docs/glossary.md` defines the words)."""

ALLOWED = re.compile(
    r"by hand|hand-written|hand-made|(?:right|left)-hand"
    r"|noise[ -]floors?|(?:math|np|ops|torch|numpy)\.floor|floor\(|floor (?:against ceil|division)"
    r"|of course|recognised as",
    re.IGNORECASE,
)
"""English in which the word means what it means everywhere."""

PARTS = re.compile(r"([a-z])(?=[A-Z])")
"""Where an identifier goes over to its next word: `MutantFramework` is two."""


@cache
def texts() -> list[tuple[str, str]]:
    """Every text that git tracks, but for this list, the lock and measured data."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    skipped = {"parity_tests/spec/test_words.py", "LICENSE", "uv.lock"}
    paths = [ROOT / name for name in listed if name not in skipped]
    return [
        (path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
        for path in paths
        if path.suffix in TEXT and path.is_file()
    ]


@cache
def spaced(text: str) -> str:
    """The text with its identifiers taken apart, so that a pattern sees whole words."""
    return ALLOWED.sub("", PARTS.sub(r"\1 ", text).replace("_", " "))


def found(pattern: str, text: str) -> list[int]:
    """The numbers of the lines that hold the pattern."""
    spaces = re.sub(r"[ _]", lambda _: r"\s+", pattern)
    word = re.compile(rf"\b(?:{spaces})\b", re.IGNORECASE)
    whole = spaced(text)
    return [whole.count("\n", 0, match.start()) + 1 for match in word.finditer(whole)]


@pytest.mark.parametrize("pattern", FORBIDDEN)
def test_no_home_made_word_is_left(pattern):
    places = [f"{name}:{line}" for name, text in texts() for line in found(pattern, text)]
    assert not places, f"write {FORBIDDEN[pattern]}: {', '.join(places)}"


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"hands?", "both hands"),
        (r"hands?", "class MutantHand:"),
        (r"floors?", "FLOOR_MODES = ()"),
        (r"floors?", "the floor and the noise floor"),
        (r"behind|told|ways? around|way_around|so many", "way_around = x"),
        (r"stands? in|stood in|stand_in|stands_in", "def stand_in(): ..."),
    ],
)
def test_the_search_finds(pattern, text):
    assert found(pattern, text) == [1]


@pytest.mark.parametrize(
    "text", ["drawn by hand", "a noise floor", "NOISE_FLOOR", "x // math.floor(y)"]
)
def test_the_search_leaves_plain_english_alone(text):
    assert not any(found(pattern, text) for pattern in FORBIDDEN)


OLD_NAMES = {
    *("subject", "subjects", "cause", "causes", "letter", "desk", "kept", "enough", "together"),
    *("listing", "clean", "maker", "recognise"),
}
"""Pieces of names that no function or class has; in prose they are plain English."""


def test_no_definition_has_an_old_name():
    kinds = (ast.ClassDef, ast.FunctionDef)
    names = {
        node.name
        for path, text in texts()
        if path.endswith(".py")
        for node in ast.walk(ast.parse(text))
        if isinstance(node, kinds) and not node.name.startswith("test_")
    }
    assert not {name for name in names if OLD_NAMES & set(spaced(name).lower().split())}


def test_no_status_is_called_cannot():
    """A check that could not run is "skipped", with its reason."""
    places = [name for name, text in texts() if re.search(r"""["']cannot["']|\bcannot:""", text)]
    assert not places


def docstrings(tree: ast.AST):
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, kinds) and (text := ast.get_docstring(node)):
            yield text


def test_no_docstring_opens_with_a_riddle():
    """The subject comes first."""
    opening = re.compile(r"(?:Those|What|Whatever|Who|How often|In which|Of|From which)\b")
    places = [
        f"{name}: {text.splitlines()[0]}"
        for name, source in texts()
        if name.endswith(".py")
        for text in docstrings(ast.parse(source))
        if opening.match(text)
    ]
    assert not places, "\n".join(places)
