"""The data of the search field: pages, headings, definitions, tags, cookbook entries and layers."""

from __future__ import annotations

from collections.abc import Iterator

import resnet_spec as spec
from resnet_spec.differences import DIFFERENCES

from resnet_parity.site.chapters import CHAPTERS, MORE
from resnet_parity.site.columns import columns
from resnet_parity.site.cookbook import entries
from resnet_parity.site.definitions import definitions, pairs
from resnet_parity.site.markdown import documents
from resnet_parity.site.names import CANONICAL
from resnet_parity.site.namesakes import OTHERS
from resnet_parity.weights.dialects import DIALECTS

Entry = tuple[str, str, str]
"""What a reader types, its kind, and the link."""


def search_data() -> list[Entry]:
    """Return every entry that the search field finds, in the order of the results."""
    return [*_pages(), *_definitions(), *_tags(), *_layers()]


def _pages() -> Iterator[Entry]:
    for id, title in (*((each.id, each.title) for each in CHAPTERS), *MORE):
        yield title, "page", f"{id}.html"
    for document in documents():
        for level, anchor, text in document.headings:
            link = document.page if level == 1 else f"{document.page}#{anchor}"
            yield text, "document" if level == 1 else document.title, link
    for entry in entries():
        yield entry.title, "cookbook", f"cookbook.html#{entry.name}"
    for dialect in DIALECTS.values():
        if dialect.name != CANONICAL:
            yield dialect.title, "names", f"names.html#dialect-{dialect.name}"
    for net in OTHERS:
        yield net.net, "ResNet-50s", f"resnet50.html#{net.id}"


def _definitions() -> Iterator[Entry]:
    for chapter in CHAPTERS:
        for module in chapter.modules:
            for pair in pairs(module):
                each = columns(module, pair)
                yield each.title, f"{module}.py", f"{chapter.id}.html#{each.anchor}"
        for file in chapter.sources:
            name = file.partition("/")[2].removesuffix(".py")
            for each in definitions(file):
                yield each.name, f"{name}.py", f"{chapter.id}.html#{name}-{each.name}"


def _tags() -> Iterator[Entry]:
    for row in DIFFERENCES:
        yield row.id, "difference", f"differences.html#{row.id}"


def _layers() -> Iterator[Entry]:
    """The layers with tensors, once each, in the first architecture that has them."""
    found: set[str] = set()
    for arch in (spec.get_architecture("resnet50"), *spec.ARCHITECTURES.values()):
        weighted = {parameter.name.rpartition(".")[0] for parameter in spec.parameters(arch)}
        block = "stem"
        for node in spec.make_graph(arch):
            stage, _, rest = node.name.partition(".")
            number, _, layer = rest.partition(".")
            if stage.startswith("layer"):
                block = f"{stage}.{number}"
            else:
                block, layer = "stem" if block == "stem" else "head", node.name
            if node.name in weighted and node.name not in found:
                found.add(node.name)
                link = f"spec.html#net={arch.name}&block={block}&layer={layer}"
                yield node.name, f"layer of {arch.name}", link
