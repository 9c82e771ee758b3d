"""Gradients: the oracle's compared with PyTorch's, both implementations' with the oracle's."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import torch

from resnet_spec import IMAGE, AveragePool, Norm, Relu, make_graph, outputs, parameters

import resnet_torch
from parity_tests.support import (
    ALL_NAMES,
    EVERYTHING,
    KINDS,
    ONE_OF_EACH_KIND,
    SMALL,
    TINY,
    USERS,
    exact,
    find,
    light,
    quick_engines,
    training,
)
from resnet_parity.adapters.loading import torch_adapter
from resnet_parity.checks import run_check
from resnet_parity.checks.engine import NOISE_FLOOR_MODES, Engine
from resnet_parity.compare import relative_error
from resnet_parity.probes import Probe, random_weights
from resnet_parity.probes.exact import SEEDS_TO_COVER
from resnet_parity.probes.training import LEAST_KINK_DISTANCE, kink_distances
from resnet_parity.reference import derivatives
from resnet_parity.reference.derivatives import backward
from resnet_parity.reference.oracle import walk
from resnet_parity.reference.values import Value
from resnet_parity.tolerances import limit

NETS = [arch.name for arch in (TINY, SMALL, *KINDS, EVERYTHING, *USERS)]
SPREAD = ["resnet18", "resnet50d", "keras_resnet50v2", "seresnet18", "plain20", "resnet34_a"]
QUICK = ["resnet18", *(arch.name for arch in (*KINDS, EVERYTHING))]


@pytest.mark.parametrize("by_batch", [False, True], ids=["frozen", "training"])
@pytest.mark.parametrize("name", NETS)
def test_the_oracle_differentiates_as_pytorch_does(name, by_batch):
    """On random weights with dense cotangents, kinks included."""
    arch, generator = find(name), np.random.default_rng(0)
    weights = random_weights(arch, 0, "float64")
    images = generator.normal(size=(3, arch.in_channels, 64, 96))
    values = {IMAGE: Value(images)}
    values |= {node.name: v for node, v in walk(arch, weights, images, training=by_batch)}
    start = {tap: generator.normal(size=values[tap].array.shape) for tap in outputs(arch).values()}
    cotangents = {tap: Value(array) for tap, array in start.items()}
    ours = dict(backward(arch, weights, values, cotangents, training=by_batch))
    model = resnet_torch.create_model(arch, dtype=torch.float64).train(by_batch)
    resnet_torch.set_weights(model, weights)
    tensors = {**dict(model.named_parameters()), IMAGE: torch.from_numpy(images).requires_grad_()}
    returned = model(tensors[IMAGE])
    sums = [torch.from_numpy(array) for array in start.values()]
    theirs = torch.autograd.grad(returned, list(tensors.values()), sums)
    for name_, gradient in zip(tensors, theirs, strict=True):
        error = relative_error(gradient.numpy(), ours[name_].array, ours[name_].scale)
        assert error < limit("float64", "gradients"), name_


@pytest.mark.parametrize("name", [*NETS, *light(ONE_OF_EACH_KIND, ["resnet18", "seresnet50"])])
def test_an_exact_probe_reaches_every_tensor(name):
    """Except the first layer of a gate, whose gradient is zero when the gate is shut or fully open.

    In a narrow network all gates of a layer may be open for one seed, but not for eight.
    """
    probe = exact(name, "float32")
    assert set(probe.gradients) == {IMAGE, *(p.name for p in parameters(find(name)) if p.trainable)}
    silent = {name for name, gradient in probe.gradients.items() if not gradient.any()}
    silent = {name for name in silent if ".se.fc1." not in name}
    assert all(".se.fc2." in name for name in silent), silent
    for seed in range(1, SEEDS_TO_COVER if silent else 1):
        gradients = exact(name, "float32", seed).gradients
        silent = {name for name in silent if not gradients[name].any()}
    assert not silent
    exact.cache_clear()


def test_a_bound_is_met_by_no_partial_sum_of_a_gradient():
    """Float32 sums over all cells equal the integers in three orders of summation."""
    probe = exact(SMALL.name, "float32")
    arch, name = SMALL, "layer1.0.conv1"
    values = {IMAGE: Value(probe.images.astype("int64"))}
    values |= {node.name: v for node, v in walk(arch, probe.weights, values[IMAGE].array)}
    start = {"fc": Value(probe.cotangents["logits"].astype("int64"))}
    found = dict(backward(arch, probe.weights, values, start))
    x, g = values["maxpool"].astype("float32"), found[f"d {name}"].astype("float32")
    terms = np.einsum("nihw,nohw->oinhw", x, g).reshape(g.shape[1], x.shape[1], -1)
    for order in (terms, terms[..., ::-1], np.sort(terms, axis=-1)):
        total = np.cumsum(order, axis=-1, dtype="float32")[..., -1]
        np.testing.assert_array_equal(total, probe.gradients[f"{name}.weight"][:, :, 0, 0])


@pytest.mark.parametrize("name", [*NETS, "resnet18", "plain20", "seresnet18"])
def test_a_training_probe_stays_away_from_kinks(name):
    """Every ReLU has inputs on both sides, and rounding in float32 moves none across."""
    probe = training(name, "float32")
    arch = probe.architecture
    images = probe.images.astype("float64")
    values = {IMAGE: Value(images)}
    values |= {node.name: v for node, v in walk(arch, probe.weights, images, training=True)}
    nearest = kink_distances(arch, values)
    assert all(nearest[kind] >= least for kind, least in LEAST_KINK_DISTANCE.items())
    model = resnet_torch.create_model(arch).train()
    resnet_torch.set_weights(model, probe.weights)
    is_open: list[np.ndarray] = []
    for module in model.modules():
        if isinstance(module, torch.nn.ReLU):
            module.register_forward_hook(lambda _, inputs, x: is_open.append(x.numpy() > 0))
    with torch.no_grad():
        model(torch.from_numpy(probe.images))
    names = [node.name for node in make_graph(arch) if isinstance(node.operation, Relu)]
    for name_, narrow in zip(names, is_open, strict=True):
        wide = values[name_].array > 0
        np.testing.assert_array_equal(narrow, wide, err_msg=name_)
        assert 0 < wide.mean() < 1, name_


@pytest.mark.parametrize("name", ["tiny", "small", "preact", "deep-stem", "resnet18"])
def test_a_training_probe_has_no_means_far_from_zero(name):
    """Otherwise the rounding of a mean would dominate the error of everything after the norm."""
    probe = training(name, "float64")
    values = {IMAGE: Value(probe.images)}
    walked = walk(probe.architecture, probe.weights, probe.images, training=True)
    values |= {node.name: value for node, value in walked}
    for node in make_graph(probe.architecture):
        if isinstance(node.operation, Norm):
            x = values[node.inputs[0]].array
            assert np.abs(x.mean((0, 2, 3)) / x.std((0, 2, 3))).max() < 3, node.name


@pytest.mark.parametrize("mode", NOISE_FLOOR_MODES)
def test_the_noise_floor_is_the_same_on_any_number_of_threads(mode):
    probe = training(TINY.name, "float32")
    model = torch_adapter().build(TINY, probe.weights, "float32")
    before, found = torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        gradients = torch_adapter().gradients
        found.append(gradients(model, probe.images, probe.cotangents, mode, training=True))
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    for name, gradient in found[0].items():
        np.testing.assert_array_equal(gradient, found[1][name], err_msg=name)


def test_gradients_that_are_all_zero_are_counted():
    """The weight and bias of the first layer of each of the six gates."""
    engine = Engine("torch nchw", torch_adapter(), "nchw")
    taps, gradients = run_check("exact", exact("gated", "float32"), (engine,))
    assert "zero" not in taps.figure
    assert gradients.figure.endswith(f", 12 of {len(gradients.rows)} tensors all zero")


def check_gradients(name: str, check: str, probe: Probe) -> None:
    found = run_check(check, probe, quick_engines(check, probe.dtype))
    verdicts = [verdict for verdict in found if verdict.quantity == "gradients"]
    assert len(verdicts) == 3
    for verdict in verdicts:
        assert verdict.status == "pass", f"{verdict.engine}: {verdict.figure}, {verdict.divergence}"
        assert {row.name for row in verdict.rows} == set(probe.gradients)
    exact.cache_clear()
    training.cache_clear()
    keras.backend.clear_session()


TRAINED = [*SPREAD, *(arch.name for arch in (*KINDS, EVERYTHING, *USERS))]
FEW = [("resnet18", "float64"), (EVERYTHING.name, "float64"), *((n, "float32") for n in QUICK)]


@pytest.mark.parametrize(
    ("name", "check"),
    light([(name, check) for name in TRAINED for check in ("float64", "float32")], FEW),
)
def test_gradients_in_training(name, check):
    check_gradients(name, check, training(name, check))


@pytest.mark.full
@pytest.mark.parametrize("check", ["float64", "float32"])
@pytest.mark.parametrize("name", [name for name in ALL_NAMES if name not in SPREAD])
def test_gradients_in_training_of_every_row(name, check):
    check_gradients(name, check, training(name, check))


@pytest.mark.parametrize("size", [(6, 6), (7, 9), (6, 8)])
@pytest.mark.parametrize("stride", [2, 3])
def test_an_average_sends_back_what_pytorch_sends(size, stride):
    """At stride 3 some cells are in no window."""
    generator = np.random.default_rng(0)
    x = torch.from_numpy(generator.normal(size=(2, 3, *size))).requires_grad_()
    options = {"ceil_mode": True, "count_include_pad": False}
    y = torch.nn.functional.avg_pool2d(x, 2, stride, **options)
    g = generator.normal(size=y.shape)
    (theirs,) = torch.autograd.grad(y, x, torch.from_numpy(g))
    ours = derivatives._average_pool(
        AveragePool("p", 2, stride), Value(x.detach().numpy()), Value(g)
    )
    np.testing.assert_array_equal(ours.array, theirs.numpy())


def test_a_bound_counts_the_mean_and_the_map_apart():
    """The sums of both are even, but a single term is not."""
    norm = Norm("n", 1, eps=0.0, decay=0.9)
    weights = {"n.weight": 1, "n.bias": 0, "n.running_mean": 3, "n.running_var": 1}
    weights = {name: np.array([value]) for name, value in weights.items()}
    x, g = (np.array(each).reshape(1, 1, 1, 2) for each in ([1, 5], [1, 1]))
    tensors, _ = derivatives._frozen_norm(norm, weights, Value(x), Value(g))
    assert tensors["weight"].bound == (1 + 3) + (5 + 3)
