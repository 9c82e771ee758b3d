"""Fast copies for inference: what they return, what they keep, and who takes them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import keras
import numpy as np
import pytest
import torch
from keras import layers
from torch import nn
from torch._inductor.utils import run_and_get_code

from resnet_spec import (
    Architecture,
    ArchitectureError,
    WeightsError,
    keras_layer_name,
    make_plan,
    outputs,
)

import resnet_keras
import resnet_keras.inference
import resnet_torch
from parity_tests.support import (
    ALL_NAMES,
    EVERYTHING,
    KINDS,
    PREACT,
    SMALL,
    TINY,
    engines,
    exact,
    light,
    python,
    quick_engines,
    random,
)
from resnet_keras.training import BatchNormalization, for_training
from resnet_parity.adapters.loading import keras_adapter, torch_adapter
from resnet_parity.checks import run_check
from resnet_parity.checks.engine import Engine
from resnet_parity.compare import relative_error
from resnet_parity.probes import random_probe
from resnet_parity.tolerances import limit

CHOSEN = {EVERYTHING.name, PREACT.name}
"""The exact probes below run the other kinds, too."""

DTYPES = ["float32", "bfloat16", "float16"]
IMAGES = np.random.default_rng(0).normal(size=(2, 3, 40, 32)).astype("float32")
NHWC = IMAGES.transpose(0, 2, 3, 1)


def keras_model(arch: Architecture) -> keras.Model:
    """A model with random statistics and weights."""
    return keras_adapter().build(arch, random(arch.name, "float32").weights, "float32")


def torch_model(arch: Architecture) -> resnet_torch.ResNet:
    """A model with random statistics and weights."""
    return torch_adapter().build(arch, random(arch.name, "float32").weights, "float32")


def verdicts(arch: str, among: tuple[Engine, ...]) -> list:
    found = list(run_check("prepared", random(arch, "float32"), among))
    assert {verdict.dtype for verdict in found} == {*DTYPES}
    return found


@pytest.mark.parametrize("name", light([EVERYTHING.name, *(arch.name for arch in KINDS)], CHOSEN))
def test_every_engine_stays_near_the_noise_floor(name):
    for verdict in verdicts(name, quick_engines("prepared", "float32")):
        assert verdict.status == "pass", (verdict.engine, verdict.dtype, verdict.figure)
        assert [row.name for row in verdict.rows] == ["logits"]


@pytest.mark.full
@pytest.mark.parametrize("name", ALL_NAMES)
def test_every_architecture(name):
    for verdict in verdicts(name, engines(every_mode=False)):
        beyond = verdict.dtype == "float16" and "float16 ends at" in verdict.reason
        assert verdict.status == ("skipped" if beyond else "pass"), verdict.figure


@pytest.mark.full
@pytest.mark.parametrize("name", ["resnet18", "seresnext50_32x4d", "resnetv2_18_small"])
def test_architectures_in_every_mode(name):
    for verdict in verdicts(name, engines()):
        assert verdict.status == "pass", (verdict.engine, verdict.figure)


@pytest.mark.parametrize("options", [{"num_classes": 0}, {"out_indices": (0, 2)}])
def test_a_backbone(options):
    arch = replace(TINY, **options)
    for verdict in run_check("prepared", random_probe(arch, 0, "float32"), engines()[:3]):
        assert verdict.status == "pass", verdict.figure
        assert [row.name for row in verdict.rows] == list(outputs(arch))


@pytest.mark.parametrize("arch", [SMALL, *KINDS[1:]], ids=lambda arch: arch.name)
def test_folding_rounds_nothing_where_norms_divide_by_powers_of_two(arch):
    probe = exact(arch.name, "float32")
    for adapter, mode in ((torch_adapter(), "nchw"), (keras_adapter(), "graph")):
        found = adapter.prepared(arch, probe.weights, probe.images, mode, "float32")
        np.testing.assert_array_equal(found["logits"], probe.expected["logits"])


@pytest.mark.parametrize("arch", [SMALL, PREACT, EVERYTHING], ids=lambda arch: arch.name)
def test_only_norms_that_follow_no_convolution_stay(arch):
    """In both frameworks: the first norms of pre-activation blocks, and the last one."""
    plan = make_plan(arch)
    starts = {block.bn1.name for block in plan.blocks if arch.preactivation}
    expected = starts | ({plan.norm.name} if plan.norm else set())
    ours = resnet_torch.prepare(torch_model(arch), dtype="bfloat16").network.named_modules()
    theirs = resnet_keras.prepare(keras_model(arch), dtype="bfloat16").layers
    kept = {name: each for name, each in ours if isinstance(each, nn.BatchNorm2d)}
    assert kept.keys() == expected
    others = {each.name: each for each in theirs if isinstance(each, layers.BatchNormalization)}
    assert others.keys() == {keras_layer_name(name) for name in expected}
    # Their statistics need more bits than the half precision that the others compute in.
    assert {each.weight.dtype for each in kept.values()} <= {torch.float32}
    assert {each.moving_variance.dtype for each in others.values()} <= {"float32"}


def test_a_norm_whose_input_is_needed_elsewhere_is_not_folded():
    """The map of the stem is returned, and without a pool the first norm follows it."""
    arch = replace(PREACT, stem=replace(PREACT.stem, pool=None))
    for options, count in (({"out_indices": (0, 2)}, 6), ({"out_indices": (2,)}, 5)):
        each = replace(arch, **options)
        probe = random_probe(each, 0, "float32")
        ours = torch_adapter().build(each, probe.weights, "float32")
        theirs = keras_adapter().build(each, probe.weights, "float32")
        found = resnet_torch.prepare(ours).modules()
        assert sum(isinstance(module, nn.BatchNorm2d) for module in found) == count
        norms = [type(layer) for layer in resnet_keras.prepare(theirs).layers]
        assert norms.count(layers.BatchNormalization) == count
        for verdict in run_check("prepared", probe, engines()[:3]):
            assert verdict.status == "pass", verdict.figure


def test_the_model_stays_as_it_is():
    ours, theirs = torch_model(TINY).train(), keras_model(TINY)
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    weights = [array.copy() for array in theirs.get_weights()]
    for dtype in DTYPES:
        resnet_torch.prepare(ours, dtype=dtype, compiled=True)
        resnet_keras.prepare(theirs, dtype=dtype, compiled=True)
    assert ours.training
    assert all(value.requires_grad for value in ours.parameters())
    assert all(torch.equal(value, before[name]) for name, value in ours.state_dict().items())
    assert all(map(np.array_equal, theirs.get_weights(), weights))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", [{}, {"features_only": True}, {"num_classes": 0}])
def test_a_copy_is_called_like_the_model(options, dtype):
    """It takes and returns the dtype of the model, and arrays of the same shapes."""
    ours = resnet_torch.create_model(TINY, **options).eval()
    theirs = resnet_keras.create_model(TINY, **options)
    for model, copy, images in (
        (ours, resnet_torch.prepare(ours, dtype=dtype), torch.from_numpy(IMAGES)),
        (theirs, resnet_keras.prepare(theirs, dtype=dtype), NHWC),
    ):
        expected, found = model(images), copy(images)
        assert isinstance(found, list) == isinstance(expected, list)
        pairs = zip(keras.tree.flatten(expected), keras.tree.flatten(found), strict=True)
        assert all(a.shape == b.shape and a.dtype == b.dtype for a, b in pairs)
        assert copy.architecture == model.architecture
        assert copy.feature_info == model.feature_info
        with pytest.raises(ValueError, match=r"channels last"):
            copy(torch.from_numpy(NHWC) if model is ours else IMAGES)


@pytest.mark.parametrize("dtype", light(["float32", "bfloat16"], ["float32"]))
def test_compiled(dtype):
    ours, theirs = torch_model(TINY), keras_model(TINY)
    kind = {"dtype": dtype, "compiled": True}
    with_grad = resnet_torch.prepare(ours, **kind)(torch.from_numpy(IMAGES))
    assert not with_grad.requires_grad
    copy = resnet_keras.prepare(theirs, **kind)
    for found, plain, images in (
        (with_grad, resnet_torch.prepare(ours, dtype=dtype), torch.from_numpy(IMAGES)),
        (copy(NHWC), resnet_keras.prepare(theirs, dtype=dtype), NHWC),
        (copy.predict(NHWC, verbose=0), resnet_keras.prepare(theirs, dtype=dtype), NHWC),
    ):
        expected = keras.ops.convert_to_numpy(plain(images))
        assert_near(np.asarray(found), expected, dtype)


def test_the_compiler_takes_weights_for_constants():
    """Else it neither reorders nor fuses them, and is hardly faster than no compiler."""
    copy = resnet_torch.prepare(torch_model(TINY), compiled=True)
    _, (code, *_) = run_and_get_code(copy, torch.from_numpy(IMAGES))
    assert "_frozen_param" in code


def assert_near(found: np.ndarray, expected: np.ndarray, dtype: str = "float32") -> None:
    """Both are one model's outputs, computed in that dtype."""
    half = limit("half", f"noise floor in {dtype}") if dtype != "float32" else 0
    assert relative_error(expected, found) <= (half or limit("float32", "noise floor of taps"))


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("strict", [False, True])
def test_torch_export_takes_a_copy(compiled, strict):
    """With any number of images and no norm left; the compiled copy is exported as it was."""
    model = torch_model(SMALL)
    copy = resnet_torch.prepare(model, compiled=compiled)
    images = torch.from_numpy(IMAGES)
    exported = torch.export.export(
        copy, (images,), dynamic_shapes={"image": {0: torch.export.Dim("batch")}}, strict=strict
    )
    names = Counter(str(node.target) for node in exported.graph.nodes)
    convs = sum(isinstance(module, nn.Conv2d) for module in model.modules())
    assert names["aten.conv2d.default"] == convs
    assert not any("norm" in name for name in names)
    with torch.no_grad():
        assert_near(exported.module()(images[:1]).numpy(), model(images[:1]).numpy())


OPENED = """
import sys, keras, numpy as np
assert not any(name.startswith("resnet_") for name in sys.modules)
model = keras.saving.load_model(sys.argv[1])
assert {type(layer).__module__.split(".")[0] for layer in model.layers} == {"keras"}
np.save(sys.argv[3], model.predict(np.load(sys.argv[2]), verbose=0))
"""


@pytest.mark.parametrize("dtype", light(["float32", "bfloat16"], ["bfloat16"]))
def test_keras_opens_a_saved_copy_without_this_package(dtype, tmp_path):
    copy = resnet_keras.prepare(for_training(keras_model(PREACT)), dtype=dtype, compiled=True)
    copy.save(tmp_path / "copy.keras")
    np.save(tmp_path / "images.npy", NHWC)
    files = [str(tmp_path / name) for name in ("copy.keras", "images.npy", "logits.npy")]
    done = python("-c", OPENED, *files, cwd=tmp_path, PYTHONPATH="")
    assert done.returncode == 0, done.stderr
    assert_near(np.load(files[2]), copy.predict(NHWC, verbose=0), dtype)


def test_a_model_of_a_user():
    """A ResNet inside another model, with the norms of training and a softmax of its own."""
    image = keras.Input((None, None, 3))
    logits = layers.Dense(4)(for_training(keras_model(SMALL))(layers.Rescaling(0.5)(image)))
    model = keras.Model(image, layers.Softmax()(logits))
    copy = resnet_keras.prepare(model)
    kinds = Counter(map(type, copy._flatten_layers()))
    assert not kinds[BatchNormalization] + kinds[layers.BatchNormalization]
    assert_near(copy.predict(NHWC, verbose=0), model.predict(NHWC, verbose=0))
    half = resnet_keras.prepare(model, dtype="bfloat16")
    assert half.layers[-1].compute_dtype == "float32", "a softmax keeps its dtype"

    ours = torch_model(SMALL)
    ours.fc = nn.Sequential(nn.Dropout(), nn.Linear(ours.fc.in_features, 4))
    ours.eval()
    images = torch.from_numpy(IMAGES)
    with torch.no_grad():
        assert_near(
            resnet_torch.prepare(nn.DataParallel(ours))(images).numpy(), ours(images).numpy()
        )


def test_what_is_refused(monkeypatch):
    with pytest.raises(WeightsError, match="this is no ResNet"):
        resnet_torch.prepare(nn.Linear(1, 1))
    with pytest.raises(ArchitectureError, match="floating-point"):
        resnet_torch.prepare(resnet_torch.create_model(TINY), dtype="int8")
    monkeypatch.setattr(resnet_keras.inference, "tensorflow", lambda: None)
    with pytest.raises(ValueError, match="needs Keras on TensorFlow"):
        resnet_keras.prepare(resnet_keras.create_model(TINY), compiled=True)
    for model, framework in ((TINY, resnet_torch), (TINY, resnet_keras)):
        with pytest.raises(WeightsError):
            framework.get_weights(framework.prepare(framework.create_model(model)))
