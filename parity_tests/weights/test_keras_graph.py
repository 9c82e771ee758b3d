"""A Keras file whose config states another function than the architecture is not read as it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import keras_hub
import pytest
import timm
from keras import layers, ops
from timm.models._hub import save_for_hf

from resnet_spec import ARCHITECTURES, get_architecture, make_graph, stages

import resnet_keras
from resnet_parity.errors import ParityError
from resnet_parity.weights.loading import load_weights

SMALL = replace(
    get_architecture("resnet18", num_classes=5), stages=stages(1, 1, width=8), name="small"
)
SPREAD = ("resnet18", "resnet50d", "seresnet18", "resnet20", "resnetv2_50d", "keras_resnet50v2")


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in SPREAD else pytest.mark.full) for n in ARCHITECTURES],
)
@pytest.mark.filterwarnings("ignore")
def test_every_row_agrees_with_the_config_that_keras_writes(name, tmp_path):
    arch = get_architecture(name, num_classes=3)
    model = resnet_keras.create_model(arch)
    for suffix in (".keras", ".h5"):
        model.save(tmp_path / f"net{suffix}")
        loaded = load_weights(tmp_path / f"net{suffix}")
        assert make_graph(loaded.architecture) == make_graph(arch)
        assert loaded.report.stated[0].startswith("the config of its Keras model")
        assert loaded.report.aside == ()
        (tmp_path / f"net{suffix}").unlink()
    keras.backend.clear_session()


def changed(name: str, call: Callable[..., Any], model: keras.Model | None = None) -> keras.Model:
    """A network in which another function stands for one layer."""

    def each(layer, *args, **options):
        return call(*args) if layer.name == name else layer(*args, **options)

    return keras.models.clone_model(model or resnet_keras.create_model(SMALL), call_function=each)


OTHERS = [
    ("layer1_0_add", layers.Subtract(name="other"), "takes other .Subtract.*, not sum"),
    ("layer1_0_add", layers.Maximum(name="other"), "takes other .Maximum.*, not sum"),
    ("maxpool", layers.AveragePooling2D(3, 2, name="other"), r"other .average .3, 3.*not max-pool"),
    ("maxpool", layers.MaxPooling2D(5, 2, name="other"), r"takes other .max-pool \(5, 5\)"),
    ("maxpool", layers.MaxPooling2D(3, 2, "same", name="other"), r"takes other .MaxPooling2D"),
    ("maxpool_pad", lambda x: x, r"\(0, 0\)\) none\), not max-pool"),
    ("conv1_pad", layers.ZeroPadding2D(((2, 4), (2, 4))), r"conv1 has zeros \(\(2, 4\), \(2, 4\)"),
    ("relu", lambda x: x, "takes bn1, not ReLU"),
    ("relu", ops.silu, "takes silu.* .keras.ops.Silu.*, not ReLU"),
    ("relu", layers.ReLU(6.0, name="other"), "takes other .ReLU max_value 6.0.*, not ReLU"),
    ("relu", layers.ReLU(threshold=1.0, name="other"), "takes other .ReLU threshold 1.0"),
    ("relu", layers.LeakyReLU(name="other"), "takes other .LeakyReLU.*, not ReLU"),
    ("relu", layers.Activation("gelu", name="other"), "takes other .gelu.*, not ReLU"),
    ("relu", layers.Activation(lambda x: x, name="other"), "takes other .unreadable.*, not ReLU"),
    ("relu", layers.Lambda(ops.relu, name="other"), "takes other .Lambda.*, not ReLU"),
    ("avgpool", layers.GlobalMaxPooling2D(name="other"), "fc takes other .GlobalMaxPooling2D"),
    ("layer2_0", lambda x: layers.ReLU()(x * 3.0), "takes multiply.* .keras.ops.Multiply"),
]


@pytest.mark.parametrize(("name", "call", "message"), OTHERS)
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.filterwarnings("ignore")
def test_a_config_of_another_function_is_refused(suffix, name, call, message, tmp_path):
    changed(name, call).save(tmp_path / f"net{suffix}")
    message = message.replace("keras.ops.", "(keras.ops.)?")
    with pytest.raises(ParityError, match=message):
        load_weights(tmp_path / f"net{suffix}")


def edited(
    folder: Path,
    edit: Callable[[dict[str, Any]], None],
    model: keras.Model | None = None,
    whole: Callable[[Any], Any] = lambda config: config,
) -> Path:
    """A saved network whose config is edited, layer by layer, then as a whole."""
    (model or resnet_keras.create_model(SMALL)).save(folder / "saved.keras")
    with (
        zipfile.ZipFile(folder / "saved.keras") as saved,
        zipfile.ZipFile(folder / "net.keras", "w") as out,
    ):
        for name in saved.namelist():
            content = saved.read(name)
            if name == "config.json":
                config = json.loads(content)
                edit({each["config"]["name"]: each for each in config["config"]["layers"]})
                content = json.dumps(whole(config)).encode()
            out.writestr(name, content)
    return folder / "net.keras"


def takes(*names: str) -> dict[str, Any]:
    tensor = {"class_name": "__keras_tensor__"}
    return {
        "args": [{**tensor, "config": {"keras_history": [name, 0, 0]}} for name in names],
        "kwargs": {},
    }


def cycle(nodes):
    nodes["relu"]["inbound_nodes"] = [takes("maxpool")]


def nowhere(nodes):
    nodes["relu"]["inbound_nodes"] = [takes("absent")]


def in_training(nodes):
    nodes["bn1"]["inbound_nodes"][0]["kwargs"]["training"] = True


def other_padding(nodes):
    nodes["layer1_0_conv1"]["config"]["padding"] = "causal"


def other_axis(nodes):
    nodes["bn1"]["config"]["axis"] = 1


def other_order(nodes):
    nodes["maxpool"]["config"]["data_format"] = "channels_first"


def other_class(nodes):
    nodes["relu"]["module"] = "mine"


def other_convolution(nodes):
    nodes["layer1_0_conv1"]["class_name"] = "Conv2DTranspose"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (cycle, "takes its own output"),
        (nowhere, "its config has no layer absent, which others take"),
        (in_training, "bn1 is called as in training"),
        (other_padding, "layer1_0_conv1 has padding 'causal' in its config"),
        (other_axis, "bn1 has axis 1 in its config"),
        (other_order, "several data_formats"),
        (other_class, "takes relu .mine.ReLU"),
        (other_convolution, "layer1_0_conv1 is a Conv2DTranspose in its config"),
    ],
)
def test_a_hostile_config_is_refused(edit, message, tmp_path):
    with pytest.raises(ParityError, match=message):
        load_weights(edited(tmp_path, edit))


def old_nodes(value: Any) -> Any:
    """A config in the words of Keras 2: the call of a model itself counts as its first."""
    if isinstance(value, list):
        return [old_nodes(each) for each in value]
    if not isinstance(value, dict):
        return value
    found = {k: old_nodes(v) for k, v in value.items() if k not in ("module", "registered_name")}
    if nodes := value.get("inbound_nodes"):
        found["inbound_nodes"] = [
            [[*each["config"]["keras_history"], {}] for each in flat_list(node["args"])]
            for node in nodes
        ]
    for key in {"input_layers", "output_layers"} & {*found}:
        found[key] = [found[key]] if isinstance(found[key][0], str) else found[key]
    return found


def flat_list(value: Any) -> list[Any]:
    return [x for each in value for x in flat_list(each)] if isinstance(value, list) else [value]


@pytest.mark.parametrize("place", ["alone", "in a model", "in a sequence"])
def test_a_config_of_keras_2_is_compared(place, tmp_path):
    model = resnet_keras.create_model(SMALL)
    if place == "in a model":
        image = keras.Input((32, 32, 3))
        model = keras.Model(image, layers.Softmax()(model(image)))
    elif place == "in a sequence":
        model = keras.Sequential([keras.Input((32, 32, 3)), model])
    path = edited(tmp_path, lambda nodes: None, model, old_nodes)
    assert load_weights(path).report.stated[0].startswith("the config of its Keras model")
    if place == "alone":
        other = changed("relu", layers.ReLU(6.0, name="other"))
        with pytest.raises(ParityError, match=r"takes other .ReLU max_value 6.0"):
            load_weights(edited(tmp_path, lambda nodes: None, other, old_nodes))


def test_a_config_without_a_graph_states_nothing(tmp_path):
    def edit(nodes):
        for node in nodes.values():
            del node["inbound_nodes"]

    report = load_weights(edited(tmp_path, edit)).report
    assert report.stated == () and report.assumptions


def body(**options) -> keras.Model:
    return keras.applications.ResNet50(
        weights=None, include_top=False, input_shape=(32, 32, 3), name="body", **options
    )


def flat(*after, **options) -> keras.Model:
    """Layers of one's own on the output of a body, in one graph."""
    base = body(**options)
    x = base.output
    for layer in (*after, layers.Dense(5, name="mine")):
        x = layer(x)
    return keras.Model(base.input, x)


def nested(*after, **options) -> keras.Model:
    image = keras.Input((32, 32, 3))
    x = body(**options)(keras.applications.resnet.preprocess_input(image), training=False)
    for layer in (*after, layers.Dense(5, name="mine")):
        x = layer(x)
    return keras.Model(image, x)


@pytest.mark.parametrize("make", [flat, nested])
def test_a_dense_layer_on_the_averaged_map_is_the_classifier(make, tmp_path):
    make(layers.GlobalAveragePooling2D(), layers.Dropout(0.2)).save(tmp_path / "net.keras")
    loaded = load_weights(tmp_path / "net.keras")
    assert (loaded.architecture.num_classes, loaded.report.left_over) == (5, ())
    assert loaded.report.stated[0].startswith("the config of its Keras model")


@pytest.mark.parametrize(
    ("make", "after", "options"),
    [
        (flat, [layers.GlobalMaxPooling2D()], {}),
        (flat, [layers.UnitNormalization()], {"pooling": "avg"}),
        (flat, [lambda x: ops.relu(x - 1)], {"pooling": "avg"}),
        (flat, [layers.Activation("tanh")], {"pooling": "avg"}),
        (flat, [layers.Lambda(lambda x: x * x)], {"pooling": "avg"}),
        (nested, [], {"pooling": "max"}),
        (nested, [layers.Rescaling(3.0)], {"pooling": "avg"}),
    ],
)
def test_a_dense_layer_on_anything_else_is_left_over(make, after, options, tmp_path):
    make(*after, **options).save(tmp_path / "net.keras")
    report = load_weights(tmp_path / "net.keras").report
    assert report.num_classes == 0
    assert report.left_over == ("mine/kernel", "mine/bias")
    assert "mine (Dense)" in report.aside[0]


def test_a_body_that_ends_with_another_pool_is_refused(tmp_path):
    body(pooling="max").save(tmp_path / "net.keras")
    with pytest.raises(ParityError, match="its config ends with max_pool"):
        load_weights(tmp_path / "net.keras")


def small_backbone(*, is_preactivated: bool) -> keras.Model:
    return keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 128],
        stackwise_num_blocks=[2, 1],
        stackwise_num_strides=[1, 2],
        block_type="bottleneck_block",
        use_pre_activation=is_preactivated,
        image_shape=(None, None, 3),
    )


@pytest.mark.parametrize("is_preactivated", [False, True])
def test_the_graph_of_a_backbone_of_kerashub_agrees(is_preactivated, tmp_path):
    backbone = small_backbone(is_preactivated=is_preactivated)
    keras.Model(backbone.input, backbone.output).save(tmp_path / "net.keras")
    report = load_weights(tmp_path / "net.keras").report
    assert report.stated[0].startswith("the config of its Keras model") and report.aside == ()


def test_a_classifier_of_kerashub_that_takes_maxima_is_refused(tmp_path):
    backbone = small_backbone(is_preactivated=False)
    model = keras_hub.models.ResNetImageClassifier(backbone, num_classes=5, pooling="max")
    model.save(tmp_path / "net.keras")
    with pytest.raises(ParityError, match="its config says pooling max, not avg"):
        load_weights(tmp_path / "net.keras")


@pytest.mark.parametrize(
    "options", [{"act_layer": "silu"}, {"output_stride": 8}, {"block_args": {"attn_layer": "se"}}]
)
def test_an_option_of_timm_that_changes_the_function_is_refused(options, tmp_path):
    model = timm.create_model("resnet18", num_classes=3)
    save_for_hf(model, str(tmp_path), model_args={"drop_rate": 0.1}, safe_serialization=True)
    assert load_weights(tmp_path).report.stated == ("config.json: timm's resnet18",)
    save_for_hf(model, str(tmp_path), model_args=options, safe_serialization=True)
    with pytest.raises(ParityError, match=rf"config\.json says {next(iter(options))}"):
        load_weights(tmp_path)
