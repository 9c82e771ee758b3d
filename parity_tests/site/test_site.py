"""The site: complete, linked, and made only of sources and measured data."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import shutil
from collections import Counter
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from resnet_spec import (
    ARCHITECTURES,
    GROUPS,
    make_graph,
    make_plan,
    parameter_count,
    parameters,
)
from resnet_spec.differences import DIFFERENCES
from resnet_spec.taps import shapes

from parity_tests.checks.mutants import MUTANTS
from parity_tests.lockstep.training_mutants import TRAINING_MUTANTS
from parity_tests.support import ROOT, command, python
from resnet_parity.site import build, results
from resnet_parity.site.alignment import align
from resnet_parity.site.chapters import CHAPTERS, DESCRIPTION, INTRODUCTIONS, MORE
from resnet_parity.site.columns import TAG
from resnet_parity.site.cookbook import entries
from resnet_parity.site.definitions import FRAMEWORKS, definitions, key, module_file, pairs
from resnet_parity.site.explorer import explorer_data
from resnet_parity.site.lines import places_outside
from resnet_parity.site.markdown import documents
from resnet_parity.site.pages import module_columns
from resnet_parity.site.results import SITE
from resnet_parity.site.sources import files as source_files
from resnet_parity.site.sources import source_page
from resnet_parity.site.terminal import find, print_pair

MODULES = [module for chapter in CHAPTERS for module in chapter.modules]
SOURCE_PAGES = [source_page(file) for file in source_files()]
LIMIT = 2**20
"""The largest size in bytes of a page with all that it loads."""


@cache
def files() -> dict[str, str]:
    """Every file of the built site by its path."""
    paths = (path for path in SITE.rglob("*") if path.is_file())
    return {path.relative_to(SITE).as_posix(): path.read_bytes().decode() for path in paths}


def html_files() -> dict[str, str]:
    return {name: text for name, text in files().items() if name.endswith(".html")}


# The site is built on demand.


@pytest.fixture
def checkout(monkeypatch, tmp_path) -> list[int]:
    """A checkout of one input and a site of one page; counts how often that is built."""
    built: list[int] = []

    def one_page() -> dict[str, str]:
        built.append(1)
        return {"index.html": "new"}

    (tmp_path / "inputs").mkdir()
    (tmp_path / "inputs" / "layers.py").write_text("x = 1\n")
    monkeypatch.setattr(build, "ROOT", tmp_path)
    monkeypatch.setattr(build, "INPUTS", ("inputs",))
    monkeypatch.setattr(build, "SITE", tmp_path / "build" / "site")
    monkeypatch.setattr(build, "_STAMP", tmp_path / "build" / "site.stamp")
    monkeypatch.setattr(build, "site", one_page)
    return built


def test_a_site_is_built_once(checkout, capsys):
    assert (build.ensure_built() / "index.html").read_text() == "new"
    assert re.search(r"1 files, in \d+\.\d s", capsys.readouterr().err)
    build.ensure_built()
    assert len(checkout) == 1 and not capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    [
        lambda inputs: (inputs / "layers.py").write_text("x = 10\n"),
        lambda inputs: os.utime(inputs / "layers.py", (0, 0)),
        lambda inputs: (inputs / "blocks.py").write_text("y = 1\n"),
        lambda inputs: (inputs / "layers.py").unlink(),
        lambda inputs: shutil.rmtree(inputs.parent / "build" / "site"),
    ],
    ids=["text", "time", "new file", "removed file", "removed site"],
)
def test_a_change_builds_the_site_again(change, checkout, tmp_path):
    build.ensure_built()
    change(tmp_path / "inputs")
    build.ensure_built()
    assert len(checkout) == 2


def test_a_build_removes_what_is_left_over(checkout, tmp_path):
    old = tmp_path / "build" / "site" / "source" / "old.html"
    old.parent.mkdir(parents=True)
    old.write_text("old")
    assert (build.ensure_built() / "index.html").is_file() and not old.exists()


def test_an_installed_wheel_builds_nothing(checkout, monkeypatch):
    monkeypatch.setattr(build, "INSTALLED", True)
    build.ensure_built()
    assert not checkout


def test_without_the_template_engine_the_error_says_what_to_install(tmp_path):
    code = (
        "import sys; sys.modules['jinja2'] = None\n"
        "from resnet_parity.errors import MissingFrameworkError\n"
        "from resnet_parity.site.build import site\n"
        "try: site()\n"
        "except MissingFrameworkError as error: print(error)\n"
    )
    assert "pip install jinja2" in python("-c", code).stdout


def test_the_site_is_built_without_any_framework():
    code = (
        "import sys; from resnet_parity.site.build import site; site()\n"
        "print({'torch', 'keras', 'tensorflow', 'jax'} & {*sys.modules})"
    )
    assert python("-c", code).stdout.strip() == "set()"


def test_every_page_is_built():
    own = ["index", *(chapter.id for chapter in CHAPTERS), *(id for id, _ in MORE)]
    own += [f"one_file/{name}" for name in ARCHITECTURES]
    names = {*(f"{id}.html" for id in own), *SOURCE_PAGES, *(each.page for each in documents())}
    assert set(html_files()) == names


def test_every_page_is_small():
    for name, page in parsed().items():
        loaded = [_resolved(name, path) for path in page.loaded if path != "data:,"]
        assert sum(len(files()[each].encode()) for each in (name, *loaded)) < LIMIT, name


# It shows the sources of both implementations, in order.


@pytest.mark.parametrize("module", MODULES)
def test_every_definition_is_in_one_pair_and_in_order(module):
    found = list(pairs(module))
    for framework in FRAMEWORKS:
        own = [getattr(pair, framework) for pair in found]
        expected = definitions(module_file(framework, module))
        assert [each.name for each in own if each] == [each.name for each in expected]
    for pair in found:
        names = {key(side.name) for side in (pair.torch, pair.keras) if side}
        assert len(names) == 1
        alone = pair.torch is None or pair.keras is None
        assert alone == bool(pair.why), f"{module}.{pair.name} needs a counterpart or a reason"


def test_every_module_of_the_implementations_has_a_chapter():
    folders = (ROOT / "resnet_torch", ROOT / "resnet_parity" / "adapters" / "torch")
    names = [path.stem for folder in folders for path in folder.glob("*.py")]
    alone = [Path(file) for chapter in CHAPTERS for file in chapter.sources]
    found = [*MODULES, *(file.stem for file in alone if file.parent.name == "resnet_torch")]
    assert sorted(found) == sorted(name for name in names if name != "__init__")


@pytest.mark.parametrize("module", MODULES)
def test_every_line_of_a_definition_is_shown_as_in_the_source(module):
    for framework in FRAMEWORKS:
        file = module_file(framework, module)
        source = (ROOT / file).read_text().splitlines()
        shown = [line for each in module_columns(module) for line in each.lines[framework] if line]
        numbers = [number for each in definitions(file) for number in each.numbers]
        assert [line.number for line in shown] == numbers
        for line in shown:
            assert line.text == source[line.number - 1] == text_of(line.html)


@pytest.mark.parametrize("module", MODULES)
def test_only_imports_are_left_out(module):
    for framework in FRAMEWORKS:
        file = module_file(framework, module)
        shown = {number for each in definitions(file) for number in each.numbers}
        docstring, *body = ast.parse((ROOT / file).read_text()).body
        assert isinstance(docstring, ast.Expr)
        for node in body:
            if not isinstance(node, ast.Import | ast.ImportFrom):
                assert {*range(node.lineno, (node.end_lineno or 0) + 1)} <= shown, node.lineno


def text_of(html: str) -> str:
    """The visible text of some HTML."""

    class Text(HTMLParser):
        found = ""

        def handle_data(self, data: str) -> None:
            self.found += data

    parser = Text()
    parser.feed(html)
    return parser.found


def test_alignment_keeps_every_line_and_its_order():
    for module in MODULES:
        for each in module_columns(module):
            assert len({len(lines) for lines in each.lines.values()}) == 1
            assert all(any(row) for row in zip(*each.lines.values(), strict=True))


def test_alignment_pairs_corresponding_lines():
    ours = ["def f(x):", "    y = conv(x)", "    y = norm(y)", "    return relu(y)"]
    theirs = ["def f(x, name):", '    """Text."""', "    y = conv(x)", "", "    return relu(y)"]
    rows = align(ours, theirs)
    assert {(0, 0), (1, 2), (3, 4)} <= set(rows)
    assert align(ours, ours) == [(index, index) for index in range(4)]
    assert align([], ours) == [(None, index) for index in range(4)]


@pytest.mark.parametrize(
    ("module", "definition", "torch", "keras"),
    [
        ("blocks", "Bottleneck", "x = self.conv2(x)", "x = conv(x, block.conv2)"),
        ("blocks", "Bottleneck", "x = self.bn3(x)", "x = batch_norm(x, block.bn3)"),
        ("layers", "conv", "groups=spec.groups", "groups=spec.groups"),
        ("layers", "batch_norm", "layer = nn.BatchNorm2d(", "return layers.BatchNormalization("),
        ("model", "create_model", "num_classes: int", "num_classes: int"),
        ("model", "ResNet", "class ResNet", "def resnet("),
        ("model", "ResNet", "x = self.bn1(x)", "x = batch_norm(x, plan.stem.norm)"),
    ],
)
def test_corresponding_lines_share_a_row(module, definition, torch, keras):
    each = next(c for c in module_columns(module) if c.anchor == f"{module}-{definition}")
    facing = {
        ours.text.strip(): theirs.text.strip()
        for ours, theirs in zip(each.lines["torch"], each.lines["keras"], strict=True)
        if ours and theirs
    }
    found = [text for line, text in facing.items() if line.startswith(torch)]
    assert any(text.startswith(keras) for text in found), found


# Differences.


def test_every_tag_has_a_note_in_its_pair():
    for module in MODULES:
        for each in module_columns(module):
            lines = [line.text for side in each.lines.values() for line in side if line]
            tags = {tag[1] for line in lines for tag in [TAG.search(line)] if tag}
            assert {note.difference.id for note in each.notes} == tags


def test_every_difference_has_a_note_and_its_impact():
    noted = {
        note.difference.id for m in MODULES for each in module_columns(m) for note in each.notes
    }
    ids = {row.id for row in DIFFERENCES}
    impact = results.impact_table("differences")
    assert noted == ids == set(impact)
    for row in DIFFERENCES:
        text = results.impacts()[row.id]
        assert text in text_of(files()["differences.html"])
        entry = impact[row.id]
        number = None if entry["value"] is None else f"{entry['value']:.2g}"
        assert "Error" in text if number is None else f"{number} " in text
        assert text.endswith("warning") == (entry["silent"] is not None)


def test_every_mutant_is_in_the_evidence():
    names = [mutant.name for mutant in (*MUTANTS, *TRAINING_MUTANTS)]
    data = results.impact_table("mutants")
    assert list(data) == names
    for mutant in MUTANTS:
        assert set(data[mutant.name]["killed_by"]) == mutant.killed_by
    shown = text_of(files()["evidence.html"])
    assert all(name in shown for name in names)
    assert all(entry["value"] > 0 for entry in data.values())


# Links.


class Page(HTMLParser):
    """The anchors, links and loaded files of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if "id" in values:
            self.ids.append(values["id"])
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag in ("script", "img", "link", "iframe"):
            self.loaded += [values[name] for name in ("src", "href") if name in values]


@cache
def parsed() -> dict[str, Page]:
    return {name: Page(text) for name, text in html_files().items()}


def test_every_anchor_is_unique_and_every_link_leads_somewhere():
    for name, page in parsed().items():
        _check_links(name, page)


def _check_links(name: str, page: Page) -> None:
    assert not [each for each, count in Counter(page.ids).items() if count > 1], name
    links = {*page.links, *page.loaded} - {"data:,"}
    if name.startswith("docs/"):  # documents may lead to papers and issues
        links -= {link for link in page.links if link.startswith("https://")}
    for link in links:
        assert "//" not in link, f"{name}: {link} is not of this site"
        path, _, anchor = link.partition("#")
        target = name if not path else _resolved(name, path)
        if target in parsed():
            assert not anchor or anchor in parsed()[target].ids, f"{name}: {link}"
        else:
            assert target in files(), f"{name}: {link}"


def _resolved(name: str, path: str) -> str:
    return (SITE / name).parent.joinpath(path).resolve().relative_to(SITE).as_posix()


@cache
def search_entries() -> list[list[str]]:
    text = files()["assets/search_data.js"]
    return json.loads(text.removeprefix("window.SEARCH = ").rstrip(";\n"))


def test_every_search_result_leads_somewhere():
    anywhere = {layer for arch in ARCHITECTURES.values() for layer in _layers_with_tensors(arch)}
    layers = {text for text, kind, _ in search_entries() if kind.startswith("layer of ")}
    assert layers == anywhere
    for text, kind, link in search_entries():
        path, _, anchor = link.partition("#")
        if kind.startswith("layer of "):
            chosen = dict(part.split("=") for part in anchor.split("&"))
            assert chosen["net"] == kind.removeprefix("layer of ")
            assert text in _layers_with_tensors(ARCHITECTURES[chosen["net"]])
            block = chosen["block"]
            shown = chosen["layer"] if block in ("stem", "head") else f"{block}.{chosen['layer']}"
            assert shown == text
        else:
            assert not anchor or anchor in parsed()[path].ids, link
            assert path in parsed()


@cache
def _layers_with_tensors(arch) -> set[str]:
    return {parameter.name.rpartition(".")[0] for parameter in parameters(arch)}


def test_the_search_has_pages_documents_definitions_tags_and_recipes():
    found = {(text, kind) for text, kind, _ in search_entries()}
    assert {(each.title, "document") for each in documents()} <= found
    assert {(row.id, "difference") for row in DIFFERENCES} <= found
    for module in MODULES:
        assert {(each.title, f"{module}.py") for each in module_columns(module)} <= found
    assert {(entry.title, "cookbook") for entry in entries()} <= found


def test_a_document_is_shown_whole():
    for document in documents():
        text = text_of(files()[document.page])
        for _, anchor, heading in document.headings[1:]:
            assert heading in text and anchor in parsed()[document.page].ids
    assert "resnet1202" in text_of(files()["docs/architectures.html"])
    assert "generated -->" not in "".join(files()[each.page] for each in documents())


def test_nothing_is_loaded_from_elsewhere():
    for name, text in files().items():
        if name.startswith("assets/") and not name.endswith("explorer_data.js"):
            assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|@import|fetch\(", text), name


def test_a_test_link_leads_to_the_line_of_the_test():
    source = (ROOT / "parity_tests" / "spec" / "test_differences.py").read_text().splitlines()
    for link in parsed()["differences.html"].links:
        if "test_differences" in link:
            assert source[int(link.partition("#L")[2]) - 1].startswith("def test_")


# Sentences come from data or from introductions.


def _visible(path: Path) -> list[str]:
    text = re.sub(r"\{%.*?%\}|\{\{.*?\}\}|<script.*?</script>", "\n", path.read_text(), flags=re.S)
    return [piece.strip() for piece in re.split(r"<[^>]*>|\n", text) if piece.strip()]


TEMPLATES = sorted((ROOT / "resnet_parity" / "site" / "templates").glob("*.html"))


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_templates_hold_only_labels(path):
    for piece in _visible(path):
        assert len(piece.split()) <= 5, piece


SCRIPTS = sorted((ROOT / "resnet_parity" / "site" / "static").glob("*.js"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_scripts_hold_only_labels(path):
    code = re.sub(r"^\s*//.*$|// .*$|\$\{[^}]*\}", "", path.read_text(), flags=re.M)
    for literal in re.findall(r'"([^"\n]*)"', code) + re.findall(r"`([^`]*)`", code):
        assert len(re.findall(r"[A-Za-z]{2,}", literal)) <= 6, literal


def test_introductions_are_short():
    texts = [DESCRIPTION, *INTRODUCTIONS.values(), *(each.introduction for each in CHAPTERS)]
    assert all(len(text.split()) < 50 for text in texts)


# The architecture explorer shows what the spec says.


@cache
def spec() -> dict:
    text = files()["assets/explorer_data.js"]
    assert text.startswith("window.EXPLORER = ")
    return json.loads(text.removeprefix("window.EXPLORER = ").rstrip(";\n"))


def layers_of(net: dict) -> list[tuple[str, dict]]:
    """Every layer of an architecture with its full name, as the explorer combines them."""
    named = [(spec()["layers"][i]["name"], spec()["layers"][i]) for i in net["stem"]]
    for stage in net["stages"]:
        number = 0
        for index, count in stage["blocks"]:
            for _ in range(count):
                block = f"{stage['name']}.{number}"
                for layer in spec()["blocks"][index]["layers"]:
                    one = spec()["layers"][layer]
                    named.append((".".join(filter(None, (block, one["name"]))), one))
                number += 1
    return [*named, *((spec()["layers"][i]["name"], spec()["layers"][i]) for i in net["head"])]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_explorer_has_every_layer_shape_and_tensor(name):
    arch, net = ARCHITECTURES[name], spec()["nets"][name]
    layers = layers_of(net)
    assert {full for full, _ in layers} == {node.name for node in make_graph(arch)}
    extents = shapes(arch, arch.image_size, arch.image_size)
    assert all(tuple(layer["shape"]) == extents[full] for full, layer in layers)
    found = {
        (f"{full}.{leaf}", tuple(shape), f"{full.replace('.', '_')}/{variable}", tuple(theirs))
        for full, layer in layers
        for leaf, shape, variable, theirs in layer["tensors"]
    }
    expected = {
        (p.name, p.shape, f"{p.keras_layer}/{p.keras_variable}", p.keras_shape)
        for p in parameters(arch)
    }
    assert found == expected
    assert net["parameters"] == parameter_count(arch)


def test_the_explorer_offers_every_architecture_in_its_group():
    assert spec()["groups"] == {group: [row.name for row in rows] for group, rows in GROUPS.items()}
    assert explorer_data()["nets"].keys() == ARCHITECTURES.keys()


def test_every_layer_has_its_lines_in_both_implementations():
    """They are lines of the source that a link can name."""
    sources: dict[str, list[str]] = {}
    for layer in spec()["layers"]:
        assert set(layer["places"]) == set(FRAMEWORKS), layer["name"]
        for framework, indices in layer["places"].items():
            assert indices
            for index in indices:
                module, number, anchor, html = spec()["places"][index]
                file = module_file(framework, module)
                lines = sources.setdefault(file, (ROOT / file).read_text().splitlines())
                assert lines[number - 1].strip() == text_of(html)
                assert anchor in parsed()[f"{spec()['chapters'][module]}.html"].ids


@pytest.mark.parametrize(
    ("net", "layer", "torch", "keras"),
    [
        ("resnet50", "conv1", ["self.conv1 = stem_conv("], ["x = stem_conv("]),
        ("resnet50", "bn1", ["self.bn1 = "], ["x = batch_norm(x, plan.stem.norm)"]),
        ("resnet50", "relu", ["self.relu = "], ["x = relu(x, plan.relu)"]),
        ("resnet50", "fc", ["self.fc = "], ["return x if plan.fc is None else linear("]),
        ("resnet50", "layer1.0.conv3", ["self.conv3 = "], ["x = conv(x, block.conv3)"]),
        (
            "resnet50",
            "layer1.0.downsample.1",
            ["layers = [SHORTCUT_LAYERS["],
            ["x = SHORTCUT_LAYERS["],
        ),
        ("resnet50", "layer1.0.add", ["self.add = "], ["x = residual_add(x, "]),
        ("resnet50", "layer1.0", ["return self.relu(x)"], ["return relu(x, block.relu3)"]),
        ("resnetv2_50", "layer1.0", ["return x"], ["return placeholder("]),
        ("resnetv2_50", "norm", ["self.norm = "], ["x = batch_norm(x, plan.norm)"]),
        ("resnet50d", "conv1.0", ["layers += "], ["x = conv(x, spec)"]),
        ("resnet50d", "conv1.1", ["layers += "], ["x = batch_norm(x, norm)"]),
        ("resnet50d", "conv1.1.relu", ["layers += "], ["x = relu(x, activation)"]),
        ("resnet50d", "conv1.6", ["return nn.Sequential("], ["return conv(x, last)"]),
        ("seresnet50", "layer1.0.se.fc2", ["self.fc2 = "], ["gate = conv(gate, spec.fc2)"]),
        (
            "seresnet50",
            "layer1.0.se",
            ["self.sigmoid = ", "return x * gate"],
            ['gate = layers.Activation("sigmoid"', "return layers.Multiply("],
        ),
    ],
)
def test_a_layer_shows_the_lines_that_create_it(net, layer, torch, keras):
    found = dict(layers_of(spec()["nets"][net]))[layer]["places"]
    for framework, starts in (("torch", torch), ("keras", keras)):
        texts = [text_of(spec()["places"][index][3]) for index in found[framework]]
        assert len(texts) == len(starts)
        assert all(text.startswith(start) for text, start in zip(texts, starts, strict=True)), texts


def test_a_layer_has_its_lines_whatever_is_cached():
    """A plan that is created again equals the cached plan."""
    arch = ARCHITECTURES["resnet50d"]
    (node,) = (node for node in make_graph(arch) if node.name == "conv1.6")
    make_plan.cache_clear()
    (place,) = places_outside(arch, node)["torch"]
    assert place.text == "return nn.Sequential(*layers, conv(last))"


def test_the_relu_of_a_stem_is_not_that_of_a_head():
    def line(net: str) -> int:
        (index,) = dict(layers_of(spec()["nets"][net]))["relu"]["places"]["keras"]
        return spec()["places"][index][1]

    assert line("resnet50") < line("resnetv2_50")


# The commands.


def test_page_prints_its_address():
    for arguments, name in (([], "index"), (["evidence"], "evidence")):
        result = command("page", *arguments)
        assert result.returncode == 0
        assert result.stdout.strip() == (SITE / f"{name}.html").as_uri()


def test_page_lists_the_pages_for_an_unknown_name():
    result = command("page", "nothing")
    assert (result.returncode, "layers" in result.stderr) == (2, True)
    assert "Traceback" not in result.stderr


def test_page_opens_a_browser(tmp_path):
    """The browser is a script that records its argument."""
    noted = tmp_path / "noted"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {noted}\n')
    browser.chmod(0o755)
    assert command("page", "layers", "--open", BROWSER=str(browser)).returncode == 0
    assert noted.read_text().strip() == (SITE / "layers.html").as_uri()


@pytest.mark.parametrize("name", ["Bottleneck", "blocks.bottleneck", "resnet50.Bottleneck"])
def test_code_prints_a_pair(name):
    result = command("code", name)
    assert result.returncode == 0
    lines = result.stdout.splitlines()
    row = next(line for line in lines if "x = self.conv2(x)" in line)
    assert "x = conv(x, block.conv2)" in row
    assert re.match(r"\s*\d+ ", row)


def test_code_prints_one_below_the_other_in_a_narrow_terminal():
    printed = io.StringIO()
    print_pair(
        Console(width=90, force_terminal=True, file=printed, color_system="standard"),
        find("layers.batch_norm"),
    )
    coloured = printed.getvalue()
    text = re.sub(r"\x1b\[[0-9;]*m", "", coloured)
    assert text != coloured, "no colours"
    assert text.index("nn.BatchNorm2d(spec.channels") < text.index("layers.BatchNormalization(")
    lines = text.splitlines()
    assert not any("def batch_norm(spec" in x and "def batch_norm(x" in x for x in lines)
    for word in ("bn-momentum", "bn-variance", results.impacts()["bn-variance"]):
        assert word in text


def test_code_prints_json():
    data = json.loads(command("code", "linear", "--json").stdout)
    assert data["files"] == {framework: f"resnet_{framework}/layers.py" for framework in FRAMEWORKS}
    for framework in FRAMEWORKS:
        lines = [row[framework][1] for row in data["rows"] if row[framework]]
        assert ast.parse("\n".join(lines))
    assert [row["id"] for row in data["differences"]] == ["dense-kernel"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Botleneck", "Bottleneck"),
        ("resnet18.Bottleneck", "BasicBlock"),
        ("vgg.Bottleneck", "neither an architecture nor"),
        ("layers.Bottleneck", "it is in blocks"),
        ("layers.nothing", "layers has: LAYOUT, conv"),
        ("layers", "name one of its definitions: LAYOUT, conv"),
        ("resnet50", "its blocks are: Bottleneck"),
        ("", "modules are"),
    ],
)
def test_code_explains_an_unknown_name(name, words):
    result = command("code", name)
    assert (result.returncode, words in result.stderr, result.stdout) == (2, True, "")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("size", [(224, 224), (225, 97), (33, 64)])
def test_the_shapes_of_other_sizes_follow_from_the_total_stride(size):
    """`shapes.js` rounds every map up; so does every architecture."""
    for name, arch in ARCHITECTURES.items():
        extents = shapes(arch, *size)
        for full, layer in layers_of(spec()["nets"][name]):
            channels, *sides = layer["shape"]
            stride = layer["reduction"]
            new = [-(-side // stride) if stride else 1 for side in size] if sides else []
            assert (channels, *new) == tuple(extents[full]), (name, full)
