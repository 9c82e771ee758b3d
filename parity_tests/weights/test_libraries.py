"""Both implementations return the logits of Keras Applications and timm with their weights."""

from __future__ import annotations

import re

import keras
import numpy as np
import pytest
import timm
import torch
from torch import nn

from resnet_spec import GROUPS, WeightsError, get_architecture

import resnet_keras
import resnet_torch
from parity_tests.support import light, with_random_statistics
from resnet_parity.adapters.libraries.keras_libraries import KerasApplications
from resnet_parity.compare import relative_error
from resnet_parity.tolerances import limit
from resnet_parity.weights.libraries import from_keras_applications, from_timm

KERAS_APPLICATIONS = [
    (row.name, f"ResNet{row.name.removeprefix('keras_resnet').upper()}")
    for group in ("Keras Applications v1", "Keras Applications v2")
    for row in GROUPS[group]
]
SAME_NAMES = [
    row.name
    for group in ("ResNet-C and -D", "squeeze-and-excitation")
    for row in GROUPS[group]
    if not row.preactivation
]
OTHER_NAMES = [
    row.name
    for group in ("pre-activation (v2)", "ResNet-C and -D")
    for row in GROUPS[group]
    if row.preactivation
]
LIGHT = [
    pytest.param(*pair, marks=[] if pair[0] == "keras_resnet50" else pytest.mark.full)
    for pair in KERAS_APPLICATIONS
]
SIZE = (65, 96)  # an odd height: averages and pools meet an edge


@pytest.fixture
def float64():
    """Make Keras build in float64, because `keras.applications` has no argument for it."""
    floatx, policy = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx(floatx)
    keras.config.set_dtype_policy(policy)
    keras.backend.clear_session()


def keras_applications(name: str, **options) -> keras.Model:
    """A model with random statistics and biases, as a trained one would have."""
    keras.utils.set_random_seed(0)
    build = getattr(keras.applications, name)
    model = build(weights=None, input_shape=(*SIZE, 3), classifier_activation=None, **options)
    generator = np.random.default_rng(0)
    for layer in model.layers:
        for variable in layer.weights:
            leaf = variable.path.rpartition("/")[2]
            if leaf in ("gamma", "moving_variance"):
                variable.assign(generator.uniform(0.5, 1.5, variable.shape))
            elif leaf != "kernel":
                variable.assign(generator.uniform(-0.25, 0.25, variable.shape))
    return model


def both_frameworks(arch, weights: dict[str, np.ndarray], images: np.ndarray) -> list[np.ndarray]:
    """The outputs of both implementations for images (N, C, H, W)."""
    dtype = str(images.dtype)
    torch_model = resnet_torch.create_model(arch, dtype=getattr(torch, dtype)).eval()
    keras_model = resnet_keras.create_model(arch, dtype=dtype)
    resnet_torch.set_weights(torch_model, weights)
    resnet_keras.set_weights(keras_model, weights)
    with torch.no_grad():
        ours = torch_model(torch.from_numpy(images)).numpy()
    theirs = keras_model(np.einsum("nchw->nhwc", images), training=False)
    return [ours, keras.ops.convert_to_numpy(theirs)]


@pytest.mark.parametrize(("name", "theirs"), LIGHT)
def test_keras_applications_in_both_implementations(name, theirs, float64):
    model = keras_applications(theirs)
    images = np.random.default_rng(1).normal(size=(2, 3, *SIZE))
    expected = np.asarray(model(np.einsum("nchw->nhwc", images), training=False))
    for logits in both_frameworks(name, from_keras_applications(model, name), images):
        assert relative_error(expected, logits) <= limit("float64", "taps")


@pytest.mark.parametrize(
    "name", light(["keras_resnet50", "keras_resnet50v2"], ["keras_resnet50v2"])
)
def test_keras_applications_without_its_top(name, float64):
    model = keras_applications(dict(KERAS_APPLICATIONS)[name], include_top=False, pooling="avg")
    arch = get_architecture(name, num_classes=0)
    images = np.random.default_rng(1).normal(size=(2, 3, *SIZE))
    expected = np.asarray(model(np.einsum("nchw->nhwc", images), training=False))
    for features in both_frameworks(arch, from_keras_applications(model, arch), images):
        assert relative_error(expected, features) <= limit("float64", "taps")


def test_keras_applications_with_classes_takes_images_of_any_size():
    library, arch = KerasApplications(), get_architecture("keras_resnet50v2", num_classes=3)
    model = library.build(arch, "float32")
    for size in ((32, 48), (49, 33)):
        assert library.run(model, np.ones((2, 3, *size), "float32")).shape == (2, 3)


def randomised(name: str, **options) -> nn.Module:
    """A timm model with random BN statistics."""
    torch.manual_seed(0)
    return with_random_statistics(timm.create_model(name, **options).eval())


FEW = [name for name in SAME_NAMES if "101" not in name and "152" not in name]


@pytest.mark.parametrize("name", light(SAME_NAMES, FEW))
def test_the_state_dict_of_timm_gives_the_bits_of_timm(name):
    theirs = randomised(name)
    ours = getattr(resnet_torch, name)()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    images = torch.randn(2, 3, *SIZE)
    with torch.no_grad():
        assert torch.equal(ours.eval()(images), theirs.eval()(images))
        assert torch.equal(ours.train()(images), theirs.train()(images))


@pytest.mark.parametrize("name", light(OTHER_NAMES, OTHER_NAMES[:2]))
def test_preactivation_nets_of_timm_in_both_implementations(name):
    theirs = randomised(name).double()
    images = np.random.default_rng(1).normal(size=(2, 3, *SIZE))
    with torch.no_grad():
        expected = theirs(torch.from_numpy(images)).numpy()
    weights = from_timm(theirs.state_dict(), name)
    for logits in both_frameworks(name, weights, images):
        assert relative_error(expected, logits) <= limit("float64", "taps")


@pytest.mark.parametrize("name", ["resnet50d", "seresnet18"])
def test_other_nets_of_timm_in_both_implementations(name):
    theirs = randomised(name).double()
    images = np.random.default_rng(1).normal(size=(2, 3, *SIZE))
    with torch.no_grad():
        expected = theirs(torch.from_numpy(images)).numpy()
    for logits in both_frameworks(name, from_timm(theirs.state_dict(), name), images):
        assert relative_error(expected, logits) <= limit("float64", "taps")


def test_the_wrong_model_is_refused(float64):
    model = keras_applications("ResNet50", include_top=False)
    whole = get_architecture("keras_resnet50")
    for name, message in {
        whole: r"not those of a 'keras_resnet50'.*\n.*predictions/kernel is missing.*"
        r"pass get_architecture\('keras_resnet50', num_classes=0\)",
        "keras_resnet101": "conv4_block7_1_conv/kernel is missing",
        "keras_resnet50v2": "conv2_block1_preact_bn/gamma is missing",
        "resnet50": "conv1_conv/bias is not a tensor of this architecture",
        "resnet18": "builds nothing like 'resnet18'",
        "resnet50d": "builds nothing like 'resnet50d'",
        "seresnet50": "builds nothing like 'seresnet50'",
    }.items():
        with pytest.raises(WeightsError) as caught:
            from_keras_applications(model, name)
        assert re.search(message, f"{caught.value} {caught.value.problems}", flags=re.DOTALL)
    for other in (nn.Linear(2, 2), {}, None):
        with pytest.raises(WeightsError, match="this is not a Keras model"):
            from_keras_applications(other, "keras_resnet50")


def test_the_wrong_state_dict_is_refused():
    model = randomised("resnet18d")
    state = model.state_dict()
    headless = {name: value for name, value in state.items() if name != "bn1.running_var"}
    seven = get_architecture("resnet18d", num_classes=7)
    for given, arch, message in (
        (state, "resnet18", r"conv1.weight is missing"),
        (state, seven, r"fc.bias has shape \(1000,\), expected \(7,\)"),
        (headless, "resnet18d", r"bn1.running_var is missing"),
        (
            {**state, "fc.scale": state["fc.bias"]},
            "resnet18d",
            r"fc.scale is not a tensor of this architecture",
        ),
        ({**state, "fc.num_batches_tracked": 1}, "resnet18d", r"fc.num_batches_tracked is not"),
        (model, "resnet18d", r"it is a ResNet; pass model.state_dict\(\)"),
        (
            model.bfloat16().state_dict(),
            "resnet18d",
            r"(?s)\d+ of \d+ tensors are bfloat16, the first is conv1.0.weight.*"
            r"state = \{name: value.float\(\) for name",
        ),
    ):
        with pytest.raises(WeightsError) as caught:
            from_timm(given, arch)  # pyright: ignore[reportArgumentType]
        assert re.search(message, f"{caught.value} {caught.value.problems}")


def test_a_state_dict_of_arrays_is_accepted():
    state = {name: value.numpy() for name, value in randomised("resnet18d").state_dict().items()}
    weights = from_timm(state, "resnet18d")
    resnet_keras.set_weights(resnet_keras.resnet18d(), weights)
    weights["fc.bias"].fill(7)
    assert not (state["fc.bias"] == 7).any()
