"""The pages: each template with the data that fills it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from resnet_spec import ARCHITECTURES
from resnet_spec.differences import DIFFERENCES

from resnet_parity.site import chapters, evidence, exercises, markdown, names, namesakes, one_file
from resnet_parity.site.colour import coloured_text
from resnet_parity.site.columns import Columns, Line, columns, line_of
from resnet_parity.site.cookbook import PARTS, entries
from resnet_parity.site.definitions import FRAMEWORKS, definitions, module_file, pairs
from resnet_parity.site.render import render
from resnet_parity.site.results import ROOT, impact_table, impacts, read, setups
from resnet_parity.site.sources import link_to_test, source_page
from resnet_parity.weights.dialects import DIALECTS


def pages() -> dict[str, str]:
    """Return every page by its path in the site, without the pages of source files."""
    found = {"index": _index()} | {chapter.id: _chapter(chapter) for chapter in chapters.CHAPTERS}
    found |= {"differences": _differences(), "evidence": _evidence(), "cookbook": _cookbook()}
    found |= {"exercises": _exercises(), "names": _names(), "resnet50": _namesakes()}
    found |= {"one_file": _one_files()}
    found |= {f"one_file/{name}": _one_file(name) for name in ARCHITECTURES}
    found |= {each.id: _document(each) for each in markdown.documents()}
    return {f"{id}.html": text for id, text in found.items()}


@cache
def results() -> dict[str, Any]:
    """Return every file of results that the pages show."""
    return {name: read(name) for name in evidence.RESULTS}


def _setups() -> dict[str, Any]:
    """The setups (date, machine, versions) of each file of results."""
    return {name: setups(data) for name, data in results().items()}


def _shared() -> dict[str, Any]:
    """The values that the rows of differences need."""
    return {
        "impact": impacts(),
        "tests": {row.id: link_to_test(row.test) for row in DIFFERENCES},
        "setups": _setups(),
    }


@cache
def module_columns(module: str) -> tuple[Columns, ...]:
    """Return the aligned pairs of a module."""
    return tuple(columns(module, pair) for pair in pairs(module))


def _chapter(chapter: chapters.Chapter) -> str:
    return render(
        "chapter",
        title=chapter.title,
        page=chapter.id,
        chapter=chapter,
        modules=[_module(module) for module in chapter.modules],
        files=[_file(file) for file in chapter.sources],
        sources_of={test: source_page(test) for test in chapter.tests},
        measured=_setups()["depth"][-1],
        **_shared(),
    )


def _module(module: str) -> dict[str, Any]:
    files = {framework: module_file(framework, module) for framework in FRAMEWORKS}
    return {
        "name": module,
        "files": files,
        "sources": {framework: source_page(file) for framework, file in files.items()},
        "pairs": module_columns(module),
    }


@dataclass(frozen=True)
class Single:
    """A definition without a counterpart, such as those of the spec."""

    anchor: str
    title: str
    lines: list[Line]


def _file(file: str) -> dict[str, Any]:
    name = file.partition("/")[2].removesuffix(".py")
    return {
        "name": f"{name}.py",
        "path": file,
        "source": source_page(file),
        "definitions": list(_singles(file, name)),
    }


def _singles(file: str, name: str) -> Iterator[Single]:
    for each in definitions(file):
        lines = [
            line_of(each, index, f"{name}-L{number}") for index, number in enumerate(each.numbers)
        ]
        yield Single(f"{name}-{each.name}", each.name, lines)


def _index() -> str:
    mutants = len(impact_table("mutants"))
    figures = [
        {"label": "architectures", "value": len(ARCHITECTURES), "href": "spec.html#explorer"},
        {"label": "differences", "value": len(DIFFERENCES), "href": "differences.html"},
        {"label": "mutants", "value": mutants, "href": "evidence.html#mutants"},
        {"label": "cookbook entries", "value": len(entries()), "href": "cookbook.html"},
    ]
    texts = {
        chapter.id: chapter.introduction for chapter in chapters.CHAPTERS
    } | chapters.INTRODUCTIONS
    titles = [*((chapter.id, chapter.title) for chapter in chapters.CHAPTERS), *chapters.MORE]
    cards = [{"id": id, "title": title, "text": texts[id]} for id, title in titles]
    return render(
        "index",
        title="Two frameworks, read as one",
        page="index",
        introduction=chapters.DESCRIPTION,
        figures=figures,
        cards=cards,
        words=_words(),
    )


def _words() -> list[tuple[str, str]]:
    """The words that `docs/glossary.md` defines, with their meanings."""
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    text = re.sub(r"\[([^\]]+)\]\([^)]+\)|\*+([^*]+)\*+", r"\1\2", text)
    rows = re.findall(r"^\| (.+?) \| (.+) \|$", text, flags=re.MULTILINE)
    return [row for row in rows if row[0] not in ("word", "---")]


def _document(document: markdown.Document) -> str:
    return render(
        "document",
        title=document.title,
        page=document.id,
        root="../",
        documents=markdown.documents(),
        text=markdown.html(document),
    )


def _one_files() -> str:
    return render(
        "one_files",
        title="One file",
        page="one_file",
        introduction=chapters.INTRODUCTIONS["one_file"],
        order=one_file.ORDER,
        groups=[*one_file.groups()],
    )


def _one_file(name: str) -> str:
    earlier, later = one_file.neighbours(name)
    return render(
        "one_file",
        title=f"{name} as one file",
        page=f"one_file/{name}",
        root="../",
        introduction=ARCHITECTURES[name].source,
        name=name,
        groups=[*one_file.groups()],
        columns=one_file.files(name),
        earlier=earlier,
        later=later,
    )


def _differences() -> str:
    places: dict[str, list[dict[str, str]]] = {row.id: [] for row in DIFFERENCES}
    for chapter in chapters.CHAPTERS:
        for module in chapter.modules:
            for each in module_columns(module):
                for note in each.notes:
                    place = {"href": f"{chapter.id}.html#{note.anchor}", "title": each.title}
                    places[note.difference.id].append(place)
    return render(
        "differences",
        title="Differences",
        page="differences",
        introduction=chapters.INTRODUCTIONS["differences"],
        differences=[{"row": row, "places": places[row.id]} for row in DIFFERENCES],
        **_shared(),
    )


def _evidence() -> str:
    data = results()
    return render(
        "evidence",
        title="Evidence",
        page="evidence",
        introduction=chapters.INTRODUCTIONS["evidence"],
        matrices=list(evidence.matrices(data["matrix"])),
        plots=list(evidence.plots(data["depth"])),
        unit=evidence.UNIT,
        dtypes=evidence.dtypes(data["depth"]),
        mutants=list(evidence.mutants()),
        onnx=evidence.onnx(data["onnx"]),
        setups=_setups(),
    )


def _cookbook() -> str:
    return render(
        "cookbook",
        title="Cookbook",
        page="cookbook",
        introduction=chapters.INTRODUCTIONS["cookbook"],
        entries=[
            {
                "name": entry.name,
                "title": entry.title,
                "remark": entry.remark,
                "parts": {part: _snippet(entry.parts[part]) for part in PARTS},
            }
            for entry in entries()
        ],
    )


def _exercises() -> str:
    return render(
        "exercises",
        title="Find the defect",
        page="exercises",
        introduction=chapters.INTRODUCTIONS["exercises"],
        exercises=list(exercises.pages()),
        setups=_setups(),
    )


def _names() -> str:
    return render(
        "names",
        title="Names",
        page="names",
        introduction=chapters.INTRODUCTIONS["names"],
        dialects=[each for each in DIALECTS.values() if each.name != names.CANONICAL],
        shown=names.SHOWN,
        placeholder="layer1.0.conv1.weight torch.Size([64, 64, 1, 1])",
    )


def _namesakes() -> str:
    return render(
        "namesakes",
        title="Which ResNet-50 is this?",
        page="resnet50",
        introduction=chapters.INTRODUCTIONS["resnet50"],
        nets=namesakes.NETS,
        facts=list(namesakes.facts()),
        mistakes=namesakes.mistakes(),
        measured=namesakes.MEASURED,
        others=namesakes.OTHERS,
        setups=_setups(),
    )


def _snippet(code: str) -> list[dict[str, Any]]:
    return [
        {"indent": len(text) - len(text.lstrip()), "html": html}
        for text, html in zip(code.splitlines(), coloured_text(code), strict=True)
    ]
