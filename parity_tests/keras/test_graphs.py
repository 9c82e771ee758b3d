"""The ResNet of a user's Keras model: found among other layers, and its architecture read.

A copied or saved model has no attribute `architecture`; its layers say which one it is.
"""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from resnet_spec import (
    ARCHITECTURES,
    Architecture,
    ArchitectureError,
    SqueezeRatio,
    WeightsError,
    get_architecture,
    layer_problems,
    make_graph,
    parameters,
)

import resnet_keras
from parity_tests.support import (
    BORDERED,
    EVERYTHING,
    KINDS,
    PREACT,
    SMALL,
    TINY,
    USERS,
    light,
    random,
)
from resnet_keras.network import find_network
from resnet_keras.operations import operations_of
from resnet_keras.training import BatchNormalization, for_training

ROWS = ["resnet20", "resnetv2_18_small", "keras_resnet50v2", "resnet50_v1", "seresnet18"]


def forget(model: keras.Model) -> keras.Model:
    """The same model without what this package wrote on it."""
    del model.architecture
    return model


def probe_weights(arch: Architecture) -> dict[str, np.ndarray]:
    return random(arch.name, "float32").weights


def filled(arch: Architecture = TINY, **options: Any) -> keras.Model:
    """A model with random statistics and weights."""
    model = resnet_keras.create_model(arch, **options)
    weights = probe_weights(arch)
    resnet_keras.set_weights(model, {p.name: weights[p.name] for p in parameters(arch)})
    return model


def assert_weights(model: keras.Model, arch: Architecture, **options: Any) -> None:
    """The model holds the weights of `filled`, and its layers say which architecture it is."""
    found = resnet_keras.get_weights(model, **options)
    assert list(found) == [parameter.name for parameter in parameters(arch)]
    expected = probe_weights(TINY)
    for name, array in found.items():
        np.testing.assert_array_equal(array, expected[name])
    assert resnet_keras.architecture_of(model, **options) == arch


@pytest.mark.parametrize("name", light([*ARCHITECTURES], ROWS))
def test_every_row_is_read_from_its_layers(name):
    model = forget(resnet_keras.create_model(name))
    assert resnet_keras.architecture_of(model) == ARCHITECTURES[name]
    keras.backend.clear_session()


OPTIONS = [
    ("resnet18", {"num_classes": 7, "in_channels": 1}),
    ("resnet50", {"output_stride": 16}),
    ("resnet50_v1", {"output_stride": 8, "num_classes": 0}),
    ("keras_resnet50v2", {"output_stride": 4}),
    ("resnet50d", {"output_stride": 8}),
    ("resnet101", {"features_only": True, "out_indices": (1,)}),
    ("resnet18d", {"features_only": True, "out_indices": (0, 1, 3)}),
    ("resnetv2_18_small", {"features_only": True, "out_indices": (0,)}),
    ("resnet20", {"zero_init_residual": True}),
    ("resnetv2_110", {"zero_init_residual": True}),
]


@pytest.mark.parametrize(
    ("name", "options"), light(OPTIONS, [OPTIONS[0], OPTIONS[6], OPTIONS[7], OPTIONS[8]])
)
def test_every_option_is_read_from_the_layers(name, options):
    model = forget(resnet_keras.create_model(name, **options))
    assert resnet_keras.architecture_of(model) == get_architecture(name, **options)
    keras.backend.clear_session()


VARIANTS = (
    replace(SMALL, name="gates", se=SqueezeRatio(0.25, 4)),
    replace(SMALL, name="first-map", out_indices=(0,)),
    replace(PREACT, name="first-map-preact", out_indices=(0,)),
    replace(EVERYTHING, name="two-maps", out_indices=(1, 2)),
)


@pytest.mark.parametrize(
    "arch", (TINY, SMALL, *KINDS, *BORDERED, EVERYTHING, *USERS, *VARIANTS), ids=lambda a: a.name
)
def test_an_architecture_of_a_user_is_read_as_the_same_function(arch):
    """Different rows may unroll to the same graph, so the graphs are compared."""
    read = resnet_keras.architecture_of(forget(resnet_keras.create_model(arch)))
    assert read.name == arch.name
    ours, theirs = make_graph(read), make_graph(arch)
    assert [each.inputs for each in ours] == [each.inputs for each in theirs]
    assert not layer_problems(arch, {each.name: each.operation for each in ours})


COPIES = {
    "clone": keras.models.clone_model,
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "config": lambda model: keras.Model.from_config(model.get_config()),
}


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_says_which_architecture_it_is(kind):
    model = filled()
    twin = COPIES[kind](model)
    assert not hasattr(twin, "architecture")
    twin.set_weights(model.get_weights())
    assert_weights(twin, TINY)


def test_a_saved_model_says_which_architecture_it_is(tmp_path):
    filled(classifier_activation="softmax").save(tmp_path / "model.keras")
    assert_weights(keras.saving.load_model(tmp_path / "model.keras"), TINY)


def image() -> Any:
    return keras.Input((32, 48, 3))


def nested() -> keras.Model:
    x = layers.RandomFlip(seed=0)(given := image())
    return keras.Model(given, filled()(layers.Rescaling(1 / 255)(x)))


def inlined() -> keras.Model:
    x = layers.RandomRotation(0.1, seed=0)(given := image())
    model = keras.Model(given, resnet_keras.resnet(x, TINY), name="tiny")
    resnet_keras.set_weights(model, probe_weights(TINY))
    return model


def twice_nested() -> keras.Model:
    return keras.Sequential([keras.Input((32, 48, 3)), nested(), layers.Softmax()])


@pytest.mark.parametrize("make", [nested, inlined, twice_nested])
def test_other_layers_are_left_out(make):
    model = make()
    assert_weights(model, TINY)
    resnet_keras.set_weights(model, {n: a + 1 for n, a in probe_weights(TINY).items()})
    changed = resnet_keras.get_weights(model)
    np.testing.assert_array_equal(changed["fc.bias"], probe_weights(TINY)["fc.bias"] + 1)


@pytest.mark.parametrize(
    ("layer", "options"),
    [
        ("avgpool", {"num_classes": 0}),
        ("layer2_0", {"features_only": True, "out_indices": (2,)}),
        ("layer1_0", {"features_only": True, "out_indices": (1,)}),
    ],
)
def test_a_cut_model_is_a_backbone(layer, options):
    model = filled()
    cut = keras.Model(model.input, model.get_layer(layer).output, name="tiny")
    read = resnet_keras.architecture_of(cut)
    assert not layer_problems(get_architecture(TINY, **options), operations(read))
    expected = [p.name for p in parameters(get_architecture(TINY, **options))]
    assert list(resnet_keras.get_weights(cut)) == expected


def operations(arch: Architecture) -> dict[str, Any]:
    return {node.name: node.operation for node in make_graph(arch)}


def test_a_cut_inside_a_block_is_refused():
    model = filled()
    cut = keras.Model(model.input, model.get_layer("layer2_0_conv2").output)
    with pytest.raises(ArchitectureError, match=r"ends with a block such as layer3\.0") as caught:
        resnet_keras.get_weights(cut)
    assert "layer2.0.bn2 is missing" in str(caught.value)


def test_a_classifier_of_another_name_is_the_classifier():
    features = filled(replace(TINY, num_classes=0))
    head = layers.Dense(5, activation="softmax", name="predictions")
    for model in (
        keras.Model(features.input, head(layers.Dropout(0.5)(features.output)), name="tiny"),
        keras.Sequential([features, layers.Dropout(0.5), layers.Dense(5), layers.Softmax()]),
    ):
        assert resnet_keras.architecture_of(model) == replace(TINY, num_classes=5)
        weights = resnet_keras.get_weights(model)
        dense = next(x for x in model.layers if isinstance(x, layers.Dense))
        np.testing.assert_array_equal(weights["fc.weight"].T, np.asarray(dense.kernel))


def test_another_head_is_none():
    """A dense layer that is not the only one, or follows a norm, is no classifier of the row."""
    features = filled(replace(TINY, num_classes=0))
    for hidden in (layers.Dense(7, "relu"), layers.BatchNormalization(), layers.ReLU()):
        model = keras.Sequential([features, hidden, layers.Dense(5)])
        assert resnet_keras.architecture_of(model) == replace(TINY, num_classes=0)
        assert "fc.weight" not in resnet_keras.get_weights(model)


def two_called() -> keras.Model:
    given = image()
    both = [filled(name=name)(given) for name in ("left", "right")]
    return keras.Model(given, layers.Concatenate()(both))


def two_joined() -> keras.Model:
    both = [filled(name=name) for name in ("left", "right")]
    return keras.Model([each.input for each in both], [each.output for each in both])


def two_inlined() -> keras.Model:
    given = image()
    names = ("left", "right")
    model = keras.Model(given, [resnet_keras.resnet(given, TINY, name=name) for name in names])
    for name in names:
        resnet_keras.set_weights(model, probe_weights(TINY), name=name)
    return model


@pytest.mark.parametrize("unnamed", [0, 1], ids=["unnamed first", "unnamed last"])
def test_a_named_and_an_unnamed_network_in_one_graph(unnamed):
    names: list[str | None] = ["right", "right"]
    names[unnamed] = None
    model = keras.Model(given := image(), [resnet_keras.resnet(given, TINY, name=n) for n in names])
    with pytest.raises(WeightsError, match="holds 2 ResNets"):
        resnet_keras.get_weights(model)
    for name in (model.name, "right"):
        resnet_keras.set_weights(model, probe_weights(TINY), name=name)
        assert_weights(model, replace(TINY, name=name), name=name)


@pytest.mark.parametrize("heads", [1, 2])
def test_two_networks_may_share_the_layers_after_them(heads):
    """The input of a layer that is called twice is that of the call."""
    given, names = image(), ("left", "right")
    ends = [resnet_keras.resnet(given, replace(TINY, num_classes=0), name=name) for name in names]
    dropout, softmax, own = layers.Dropout(0.5), layers.Softmax(), [layers.Dense(5)] * 2
    if heads == 2:
        own = [layers.Dense(5) for _ in names]
    returned = [softmax(dense(dropout(end))) for dense, end in zip(own, ends, strict=True)]
    model = keras.Model(given, returned)
    for name, dense in zip(names, own, strict=True):
        weights = resnet_keras.get_weights(model, name=name)
        np.testing.assert_array_equal(weights["fc.weight"].T, np.asarray(dense.kernel))


def test_one_of_two_classifiers_on_one_average_must_be_chosen():
    features = filled(replace(TINY, num_classes=0))
    heads = [layers.Dense(size, name=f"head{size}") for size in (4, 5)]
    model = keras.Model(features.input, [head(features.output) for head in heads], name="tiny")
    with pytest.raises(WeightsError, match="2 dense layers follow the average of 'tiny'") as caught:
        resnet_keras.get_weights(model)
    for index, size in enumerate((4, 5)):
        fix = f"keras.Model(model.inputs, model.outputs[{index}])"
        assert f"head{size}: {fix}" in str(caught.value)
        chosen = eval(fix, {"keras": keras, "model": model})
        assert resnet_keras.get_weights(chosen)["fc.bias"].shape == (size,)
    named = keras.Model(features.input, [heads[0](features.output), features.output])
    assert resnet_keras.get_weights(named)["fc.bias"].shape == (4,)


def test_a_name_with_a_dot_is_found():
    model = forget(filled(name="my.net", classifier_activation="softmax"))
    assert not [layer.name for layer in (model, *model.layers) if "." in layer.name]
    around = keras.Model(given := image(), model(given))
    for name in ("my.net", "my_net"):
        assert_weights(around, replace(TINY, name="my_net"), name=name)
    inlined = keras.Model(given, resnet_keras.resnet(given, TINY, name="my.net"))
    assert resnet_keras.architecture_of(inlined, name="my.net").name == "my_net"


def norms_of(model: keras.Model) -> list[type]:
    return [type(x) for x in model._flatten_layers() if isinstance(x, layers.BatchNormalization)]


@pytest.mark.parametrize("make", [nested, twice_nested])
def test_every_norm_of_a_nested_network_is_replaced_for_training(make):
    model = make()
    trained = for_training(model)
    assert norms_of(model) == [layers.BatchNormalization] * len(norms_of(model))
    assert norms_of(trained) == [BatchNormalization] * len(norms_of(model))
    assert_weights(trained, TINY)


@pytest.mark.parametrize("make", [two_called, two_joined, two_inlined])
def test_two_networks_in_one_graph(make, tmp_path):
    model = make()
    model.save(tmp_path / "two.keras")
    for each in (model, keras.saving.load_model(tmp_path / "two.keras")):
        for name in ("left", "right"):
            assert_weights(each, replace(TINY, name=name), name=name)
        with pytest.raises(WeightsError, match=r"holds 2 ResNets.*\n.*'left', 'right'\npass name="):
            resnet_keras.get_weights(each)
        with pytest.raises(WeightsError, match=r"no such ResNet.*\n.*'left', 'right'\npass name="):
            resnet_keras.get_weights(each, name="up")


def test_a_row_is_found_by_its_layers_whatever_its_name():
    model = forget(resnet_keras.resnet20(name="my_net"))
    assert all(layer.name.startswith("my_net_") for layer in model.layers)
    assert resnet_keras.architecture_of(model) == ARCHITECTURES["resnet20"]


def replaced(layer: str, **config: Any) -> keras.Model:
    """A copy of a model in which one layer has another configuration."""

    def changed(each: keras.Layer) -> keras.Layer:
        return type(each).from_config(each.get_config() | (config if each.name == layer else {}))

    return keras.models.clone_model(filled(), clone_function=changed)


FAULTS = {
    "a stride": ("layer2_0_conv1", {"strides": (1, 1)}, "layer2.0.conv1 has stride 1, expected 2"),
    "an epsilon": ("layer1_0_bn2", {"epsilon": 1e-3}, "layer1.0.bn2 has eps 0.001"),
    "a padding": ("layer1_0_conv1_pad", {"padding": 2}, "layer1.0.conv1 is not the Conv"),
    "same": ("layer1_0_conv2", {"padding": "same"}, "layer1.0.conv2 is not the Conv"),
    "an activation": ("conv1", {"activation": "relu"}, "conv1 is not the Conv"),
    "a slope": ("layer1_0", {"negative_slope": 0.1}, "layer1.0 is not the Relu"),
    "a pool": ("maxpool", {"pool_size": (2, 2)}, "maxpool has kernel 2, expected 3"),
    "no scale": ("bn1", {"scale": False}, "bn1/gamma is missing"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_layers_that_are_not_those_of_the_architecture_are_named(fault):
    layer, config, message = FAULTS[fault]
    model = replaced(layer, **config)
    with pytest.raises((WeightsError, ArchitectureError)) as caught:
        resnet_keras.get_weights(model, TINY)
    assert message in str(caught.value)
    with pytest.raises(ArchitectureError):
        resnet_keras.get_weights(model)


def test_the_decay_of_a_norm_matters_only_where_the_architecture_is_read():
    model = filled()
    model.get_layer("bn1").momentum = 0.5
    assert_weights(model, TINY)
    copied = replaced("bn1", momentum=0.5)
    assert resnet_keras.architecture_of(copied, TINY) == TINY
    with pytest.raises(ArchitectureError, match=r"bn1 has decay 0\.5, expected 0\.9"):
        resnet_keras.architecture_of(copied)


def test_the_architecture_of_a_model_made_here_is_not_read_from_its_layers():
    """The layers may differ from it: the checks compare such a model, and name where it differs."""
    model = replaced("bn1", epsilon=1e-3)
    model.architecture = TINY
    assert resnet_keras.architecture_of(model) == TINY
    with pytest.raises(WeightsError, match=r"bn1 has eps 0\.001"):
        resnet_keras.architecture_of(model, TINY)


def test_the_stride_tells_resnet50_from_its_first_version():
    model = forget(resnet_keras.resnet50(num_classes=3))
    assert resnet_keras.architecture_of(model).name == "resnet50"
    v1 = get_architecture("resnet50_v1", num_classes=3)
    with pytest.raises(WeightsError, match="not a 'resnet50_v1'") as caught:
        resnet_keras.get_weights(model, v1)
    assert "layer2.0.conv1 has stride 1, expected 2" in str(caught.value)


def test_a_lora_update_is_added_to_its_kernel():
    model = filled(dtype="mixed_bfloat16")
    for name, spot in (("fc", "fc.weight"), ("layer1_0_conv1", "layer1.0.conv1.weight")):
        layer = model.get_layer(name)
        layer.enable_lora(2)
        layer.lora_kernel_b.assign(np.ones(layer.lora_kernel_b.shape))
        down = np.asarray(layer.lora_kernel_a)
        update = np.repeat(down.sum(-1, keepdims=True), layer.lora_kernel_b.shape[1], axis=-1)
        axes = (1, 0) if name == "fc" else (3, 2, 0, 1)
        expected = probe_weights(TINY)[spot] + update.transpose(axes)
        np.testing.assert_array_equal(resnet_keras.get_weights(model)[spot], expected)
    with pytest.raises(WeightsError, match="set the weights before enable_lora"):
        resnet_keras.set_weights(model, probe_weights(TINY))


def test_a_quantized_layer_is_refused():
    model = filled()
    model.get_layer("fc").quantize("int8")
    with pytest.raises(WeightsError, match=r"before model\.quantize") as caught:
        resnet_keras.get_weights(model)
    assert "fc holds rounded integers" in str(caught.value)


def test_a_model_without_a_resnet_is_refused():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    with pytest.raises(WeightsError, match="holds no ResNet of this package"):
        resnet_keras.get_weights(model)


def test_every_layer_is_read_as_the_operation_it_was_made_from():
    """The reading inverts the builders, for rows that have every operation."""
    for name in ("resnet34_a", "keras_resnet50v2", "seresnet18"):
        model = resnet_keras.create_model(name)
        read = operations_of(find_network(model).layers)
        assert set(read) == {node.name for node in make_graph(ARCHITECTURES[name])}
        assert None not in read.values()
        keras.backend.clear_session()
