"""The names page: its JavaScript names tensors, and identifies keys, as `weights` does.

And the page of the networks called ResNet-50, which comes from the spec and from measured figures.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from playwright.sync_api import Page

from resnet_spec import ARCHITECTURES, Parameter, parameter_count

from benchmarks import mistaken
from parity_tests.site.chromium import chromium
from parity_tests.site.test_browser import Reader, pytestmark
from parity_tests.support import light
from resnet_parity.site import namesakes
from resnet_parity.site.results import SITE, read
from resnet_parity.tolerances import limit
from resnet_parity.weights.dialects import DIALECTS
from resnet_parity.weights.identify import Reading, identify
from resnet_parity.weights.naming import Dialect, tensor_names
from resnet_parity.weights.refused import refusal

__all__ = ["pytestmark"]

HEAVIEST = 300_000
"""The largest size in bytes of the names page with all that it loads, but the search data."""

NETS = (
    *("resnet18", "resnet50", "resnet50_v1", "resnext50_32x4d", "resnet50_a", "plain18"),
    *("keras_resnet50", "resnetv2_50", "keras_resnet50v2", "resnet20", "resnetv2_50d"),
    *("resnet18_small", "resnet50c", "resnet50d", "seresnet50"),
)
EVERY = light([NETS, [*ARCHITECTURES]], [NETS])
Shapes = dict[str, tuple[int, ...]]


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """The names page, opened once without a network."""
    with chromium() as browser:
        context = browser.new_context(offline=True, viewport={"width": 1440, "height": 900})
        reader = Reader(context)
        yield reader.open("names")
        assert reader.complaints == []


def named(dialect: Dialect, name: str, prefix: str = "") -> dict[str, Parameter] | None:
    """The tensors of a row by their names in a dialect, without a head that it has no name for."""
    arch = ARCHITECTURES[name]
    arch = arch if "fc" in dialect.roles else replace(arch, num_classes=0)
    return tensor_names(dialect, arch, prefix)


def shape_in(dialect: Dialect, parameter: Parameter) -> tuple[int, ...]:
    extents = dict(zip(parameter.axes, parameter.shape, strict=True))
    return tuple(extents.get(axis, 1) for axis in dialect.axes(parameter))


def file_of(dialect: str, net: str, prefix: str = "") -> Shapes:
    """The names and shapes in a file of a row, as the dialect has them."""
    found = named(DIALECTS[dialect], net, prefix)
    assert found is not None
    return {name: shape_in(DIALECTS[dialect], parameter) for name, parameter in found.items()}


RENDERED = """([dialect, nets]) => nets.map((net) => !NAMING.canName(dialect, net) ? null :
    NAMING.tensorsOf(net).map((each) => [NAMING.tensorName(dialect, each),
        NAMING.tensorName(NAMING.canonical, each), NAMING.shapeIn(dialect, each)])
    .filter(([name]) => name !== null))"""


@pytest.mark.parametrize("nets", EVERY, ids=["some", "all"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_page_names_every_tensor_as_the_dialect_does(page, dialect, nets):
    rendered = page.evaluate(RENDERED, [dialect, nets])
    compared = 0
    for net, rows in zip(nets, rendered, strict=True):
        expected = named(DIALECTS[dialect], net)
        assert (rows is None) == (expected is None), net
        if expected is not None:
            theirs = [
                [name, parameter.name, [*shape_in(DIALECTS[dialect], parameter)]]
                for name, parameter in expected.items()
            ]
            assert rows == theirs, net
            compared += 1
    assert compared


# The keys of a checkpoint.

READ = """(text) => {
    const names = NAMING.parse(text);
    const refusal = NAMING.refusal([...names.keys()]);
    return { shapes: [...names], readings: NAMING.identify(names), refusal };
}"""


def as_python(reading: Mapping[str, Any]) -> dict[str, Any]:
    """A reading of the page, in the words of `identify`."""
    return {
        "dialect": reading["dialect"],
        "prefix": reading["prefix"],
        "architecture": reading["net"],
        "others": {*reading["others"]},
        "missing": {*reading["missing"]},
        "left_over": {*reading["leftOver"]},
        "mis_shaped": {*reading["misShaped"]},
        "biases": {*reading["biases"]},
        "classes": reading["classes"],
    }


def expected(reading: Reading) -> dict[str, Any]:
    return {
        "dialect": reading.dialect.name,
        "prefix": reading.prefix,
        "architecture": reading.architecture.name,
        "others": {*reading.others},
        "missing": {*reading.missing},
        "left_over": {*reading.left_over},
        "mis_shaped": {text.partition(" ")[0] for text in reading.mis_shaped},
        "biases": {*reading.biases},
        "classes": reading.architecture.num_classes,
    }


def check(page: Page, shapes: Shapes, text: str | None = None) -> Mapping[str, Any]:
    """The best reading of the page, which must be that of `identify`."""
    text = text or json.dumps({name: [*shape] for name, shape in shapes.items()})
    found = page.evaluate(READ, text)
    assert dict(found["shapes"]).keys() == shapes.keys()
    best = found["readings"][0]
    assert as_python(best) == expected(identify(shapes)[0])
    return best


@pytest.mark.parametrize("nets", EVERY, ids=["some", "all"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_page_identifies_what_the_commands_identify(page, dialect, nets):
    known = [net for net in nets if named(DIALECTS[dialect], net) is not None]
    few = [net for net in known if net in ("resnet50_v1", known[-1])]  # v1 has the tensors of v1.5
    for net in known if len(nets) > len(NETS) else few:
        check(page, file_of(dialect, net))


def torch_lines(shapes: Shapes) -> str:
    return "\n".join(f"{name} torch.Size({[*shape]})" for name, shape in shapes.items())


def python_dict(shapes: Shapes) -> str:
    pairs = ", ".join(f"('{name}', torch.Size({[*shape]}))" for name, shape in shapes.items())
    return f"OrderedDict([{pairs}])"


def safetensors_header(shapes: Shapes) -> str:
    header = {name: {"dtype": "F32", "shape": [*shape]} for name, shape in shapes.items()}
    return json.dumps({"__metadata__": {"format": "pt"}, **header})


def keras_variables(shapes: Shapes) -> str:
    lines = (
        f"<Variable path={name}, shape={shape}, dtype=float32, value=[[[[0.1 (2)"
        for name, shape in shapes.items()
    )
    return "\n".join(lines)


def tensorflow_variables(shapes: Shapes) -> str:
    lines = (
        f"<tf.Variable '{name}:0' shape={shape} dtype=float32>" for name, shape in shapes.items()
    )
    return "[" + ",\n ".join(lines) + "]"


def hdf5_paths(shapes: Shapes) -> str:
    """Keras repeats the name of the layer: `conv1_conv/conv1_conv/kernel:0`."""
    lines = (f"{name.split('/')[0]}/{name}:0 {shape}" for name, shape in shapes.items())
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("dialect", "net", "prefix", "written"),
    [
        ("torchvision", "resnet50", "", torch_lines),
        ("torchvision", "resnet50", "module.encoder_q.", torch_lines),
        ("torchvision", "wide_resnet50_2", "state_dict.model.", python_dict),
        ("timm-v2", "resnetv2_50", "", python_dict),
        ("hf", "resnet18", "", safetensors_header),
        ("keras-applications", "keras_resnet50", "", keras_variables),
        ("keras-applications", "keras_resnet50", "resnet50/", tensorflow_variables),
        ("keras-applications-v2", "keras_resnet50v2", "", hdf5_paths),
        ("kerashub", "resnet50d", "", keras_variables),
        ("jax-resnet", "resnet50", "", torch_lines),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_keys_are_read_as_frameworks_print_them(page, dialect, net, prefix, written):
    shapes = file_of(dialect, net, prefix)
    best = check(page, shapes, written(shapes))
    assert (best["dialect"], best["prefix"], best["net"]) == (dialect, prefix, net)


@pytest.mark.parametrize("start", ["['", '["', "odict_keys(['", "dict_keys(['"])
def test_a_list_without_shapes_is_read(page, start):
    """Names alone fit several networks; shapes decide between them."""
    quote = start[-1]
    text = start + f"{quote}, {quote}".join(file_of("hf", "resnet50")) + f"{quote}])"
    best = page.evaluate(READ, text)["readings"][0]
    assert (best["dialect"], best["net"], best["missing"]) == ("hf", "resnet50", [])
    assert {"wide_resnet50_2", "resnext50_32x4d", "resnet50_v1"} <= {*best["others"]}


def test_what_is_missing_left_over_and_of_another_shape_is_listed(page):
    whole = file_of("torchvision", "resnet34", "module.encoder_q.")
    other = {
        name.replace("encoder_q", "encoder_k"): shape
        for name, shape in [*whole.items()][: len(whole) // 2]
    }
    counters = {
        name.replace("running_var", "num_batches_tracked"): ()
        for name in whole
        if name.endswith("running_var")
    }
    shapes = {**whole, **other, **counters, "module.queue": (128, 65536), "epoch": ()}
    shapes.pop("module.encoder_q.layer2.1.bn1.weight")
    shapes["module.encoder_q.layer3.0.conv1.weight"] = (256, 128, 1, 1)
    shapes["module.encoder_q.fc.weight"], shapes["module.encoder_q.fc.bias"] = (37, 512), (37,)
    shapes["module.encoder_q.conv1.weight"] = (64, 1, 7, 7)
    best = check(page, shapes, torch_lines(shapes))
    assert best["missing"] == ["module.encoder_q.layer2.1.bn1.weight"]
    assert best["misShaped"] == ["module.encoder_q.layer3.0.conv1.weight"]
    assert best["classes"] == 37 and "module.queue" in best["leftOver"]


def test_biases_before_norms_and_a_missing_head_are_understood(page):
    shapes = file_of("gluon", "resnet50_v1")
    biases = {
        name.replace(".weight", ".bias"): shape[:1]
        for name, shape in shapes.items()
        if len(shape) == 4 and shape[2:] == (1, 1) and ".body." in name
    }
    shapes = {**shapes, **biases}
    del shapes["output.weight"], shapes["output.bias"]
    best = check(page, shapes)
    assert (len(best["biases"]), best["net"], best["headless"]) == (32, "resnet50_v1", True)


@pytest.mark.parametrize(
    "name",
    [
        "resnet_v1_50/block1/unit_1/bottleneck_v1/conv1/weights",
        "visual.attnpool.positional_embedding",
        "scale2a_branch2a.weight",
        "res2a_branch2a/kernel:0",
        "base_model/conv2d_4/kernel",
    ],
)
def test_networks_that_are_refused_are_named(page, name):
    found = page.evaluate(READ, name)["refusal"]
    assert found["reason"] == refusal({"": {found["name"]: None}}, {}).partition(" (it has ")[0]  # type: ignore


def test_other_text_is_no_network(page):
    for text in ("", "nothing of the kind", "[1, 2", "{}", '{"a": null}', "null", "7"):
        found = page.evaluate(READ, text)
        assert (found["readings"], found["refusal"]) == ([], None), text


# What a reader does.


def columns(page: Page) -> list[str]:
    return page.locator("#names thead th").all_inner_texts()


def test_a_reader_pastes_keys_chooses_dialects_and_filters(page):
    page.reload()
    keys = file_of("torchvision", "resnet50", "module.encoder_q.")
    keys.pop("module.encoder_q.bn1.bias")
    page.fill("#keys", torch_lines({**keys, "module.queue": (128, 65536)}))
    page.locator("#reading dl").wait_for()
    reading = page.locator("#reading").inner_text()
    for words in ("torchvision and timm", "module.encoder_q.", "resnet50", "Missing", "Left over"):
        assert words in reading, words
    for words in ("module.encoder_q.bn1.bias", "module.queue"):
        assert words in page.locator("#reading").text_content()
    page.locator("#dialects summary").click()
    page.locator("#dialect-detectron2").click()
    assert columns(page)[:2] == ["your checkpoint", "canonical"]
    assert {"Detectron2", "Hugging Face transformers", "KerasHub"} < {*columns(page)}
    page.fill("#filter", "res4.2.conv3.norm.running_var")
    cells = page.locator("#names tbody tr").first.locator("th, td").all_inner_texts()
    place = columns(page).index("keras.applications")
    assert cells[:2] == ["module.encoder_q.layer3.2.bn3.running_var", "layer3.2.bn3.running_var"]
    assert cells[place] == "conv4_block3_3_bn/moving_variance" and cells[-1] == "(1024)"
    assert page.locator("#count").inner_text() == "1 tensors"
    page.select_option("#net", "resnet50_v1")
    assert "resnet50_v1" in page.locator("#reading").inner_text()
    page.locator("#clear").click()
    assert page.locator("#reading").inner_text() == ""
    assert columns(page)[0] == "canonical"


def test_every_example_is_identified(page):
    page.reload()
    for name in page.locator("#example option").all_inner_texts()[1:]:
        page.select_option("#example", name)
        reading = page.locator("#reading").inner_text()
        assert "Architecture" in reading and "Missing" not in reading, name


def test_every_architecture_can_be_chosen_and_shown_whole(page):
    page.reload()
    assert page.locator("#net option").all_inner_texts() == [*ARCHITECTURES]
    page.select_option("#net", "resnet152")
    assert page.url.endswith("#net=resnet152")
    assert page.locator("#names tbody tr").count() < 800
    page.locator("#all").click()
    assert page.locator("#names tbody tr").count() == len(file_of("torchvision", "resnet152"))
    assert page.locator("#all").is_hidden()


def test_the_names_page_is_small():
    scripts = ("theme", "page", "search", "names_data", "naming", "names")
    loaded = [SITE / "names.html", SITE / "assets" / "style.css"]
    loaded += [SITE / "assets" / f"{name}.js" for name in scripts]
    assert sum(path.stat().st_size for path in loaded) < HEAVIEST


# The networks called ResNet-50.


def test_facts_are_those_of_the_spec_and_mark_what_differs():
    facts = {fact.label: fact.cells for fact in namesakes.facts()}
    nets = [*namesakes.NETS]
    for cells in facts.values():
        assert len(cells) == len(nets) and not cells[0].differs
        assert [each.differs for each in cells] == [
            (each.text, each.stacks) != (cells[0].text, cells[0].stacks) for each in cells
        ]
        assert any(each.differs for each in cells)
    counts = [f"{parameter_count(ARCHITECTURES[net]):,}" for net in nets]
    assert [each.text for each in facts["parameters"]] == counts
    differing = {
        net: {label for label, cells in facts.items() if cells[nets.index(net)].differs}
        for net in nets
    }
    assert differing["resnet50_v1"] == {
        *("the block that first halves a map", "stride", "GMACs at 224")
    }
    assert "epsilon" in differing["keras_resnet50"] and "epsilon" not in differing["resnetv2_50"]


@pytest.mark.parametrize("name", ["v1.5 as v1", "D as C", "timm v2, border of Keras"])
def test_an_error_is_the_stored_one(name):
    stored, found = read("mistaken")["rows"][name], mistaken.measure(name).figures
    assert {**found, "value": None}.items() <= {**stored, "value": None}.items()
    assert abs(found["value"] - stored["value"]) <= limit("results", "impacts") * stored["value"]


def test_a_network_is_taken_for_a_row_where_there_is_one():
    found = {name: mistake.taken_for for name, mistake in mistaken.MISTAKES.items()}
    assert found["v1.5 as v1"] == "resnet50_v1" and found["v1 as v1.5"] == "resnet50"
    assert found["D as C"] == "resnet50c"
    assert {mistake.right for mistake in mistaken.MISTAKES.values()} == {*namesakes.NETS}


def test_another_network_can_be_compared_with(page):
    page.goto((SITE / "resnet50.html").as_uri())
    cells = page.locator(".facts tbody tr", has_text="epsilon").locator("td")
    marked = "(all) => all.map((each) => each.classList.contains('differs'))"
    assert cells.evaluate_all(marked) == [False, False, True, True, False, False]
    page.select_option("#against", "keras_resnet50")
    assert cells.evaluate_all(marked) == [True, True, False, False, True, True]
