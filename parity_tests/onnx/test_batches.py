"""Probes for a graph: batches of the given size, and enough images for a verdict."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from resnet_spec import Architecture, get_architecture, outputs

from parity_tests.support import TINY
from resnet_parity.adapters.loading import torch_adapter
from resnet_parity.adapters.protocol import Adapter
from resnet_parity.checks.engine import NOISE_FLOOR_MODES, Engine
from resnet_parity.compare import relative_error
from resnet_parity.onnx_io import batches
from resnet_parity.onnx_io import participants as comparison
from resnet_parity.onnx_io.participants import Participant, compare_participants
from resnet_parity.probes import Probe, random_weights
from resnet_parity.probes.random import make_probe
from resnet_parity.tolerances import limit

SIZE = (32, 48)
MAPS = replace(TINY, num_classes=0, out_indices=(1, 2))
VECTORS = replace(TINY, num_classes=0)


def drawn(arch: Architecture, count: int = 7) -> list[Probe]:
    """Probes of one image each."""
    return batches.random_probes(arch, 3, SIZE, random_weights(arch, 0, "float32"), count)


def test_a_verdict_has_enough_images():
    """Whole batches, with at least 32 values in every output."""
    five = replace(TINY, num_classes=5)
    assert [batches.images_needed(five, batch, SIZE) for batch in (1, 2, 3, 5, 9)] == [
        7,
        8,
        9,
        10,
        9,
    ]
    assert batches.images_needed(get_architecture("resnet18"), 2, SIZE) == 2
    assert batches.images_needed(MAPS, 1, SIZE) == 1


@pytest.mark.parametrize("arch", [TINY, MAPS, VECTORS], ids=["logits", "maps", "vectors"])
def test_concatenated_probes_equal_one_probe_of_all_images(arch):
    """In outputs and in the sizes that errors are relative to, as the oracle computes them."""
    probe = batches.concatenate(drawn(arch), 2)
    assert probe.kind == "random 32x48, batch 2"
    assert len(np.unique(probe.images[:, 0, 0, 0])) == 7, "no image is repeated"
    whole = make_probe(arch, 3, probe.weights, probe.images, "random")
    assert list(probe.expected) == list(probe.scales) == list(outputs(arch))
    for name, array in probe.expected.items():
        assert relative_error(whole.expected[name], array) <= limit("float64", "taps")
        scale, wanted = np.array(probe.scales[name]), np.array(whole.scales[name])
        assert relative_error(wanted, scale) <= limit("float64", "taps")
    assert all(probe.scales.values()) == (arch is TINY), "few values, whose terms may cancel"


def test_an_engine_runs_one_batch_after_another():
    seen = []

    def run(model, images, mode):
        seen.append(images)
        return {"logits": images[:, 0, 0, :5] * model, "layer1.0": images}

    engine = Engine("some engine", cast(Adapter, SimpleNamespace(run=run)), "some mode")
    probe = batches.concatenate(drawn(TINY, 6), 3)
    (given,) = batches.in_batches([engine], 3)
    found = given.run(2, probe, "taps")
    assert [len(images) for images in seen] == [3, 3]
    np.testing.assert_array_equal(np.concatenate(seen), probe.images)
    assert list(found) == ["logits"], "what is not compared is not kept"
    np.testing.assert_array_equal(found["logits"], 2 * probe.images[:, 0, 0, :5])


class Watched:
    """PyTorch, with the number of images of each call; unknown modes run as NCHW."""

    def __init__(self) -> None:
        self.given: list[int] = []

    def __getattr__(self, name: str):
        return getattr(torch_adapter(), name)

    def unsupported_reason(self, mode, check):
        return None

    def run(self, model, images, mode):
        self.given.append(len(images))
        return torch_adapter().run(model, images, mode if mode in NOISE_FLOOR_MODES else "nchw")


def test_a_graph_and_its_noise_floor_run_the_same_batches(monkeypatch):
    """For a file of three images and ten classes, one batch is not enough."""
    graph, noise_floor = Watched(), Watched()
    monkeypatch.setattr(comparison, "torch_adapter", lambda: noise_floor)
    engine = Engine("a graph", cast(Adapter, graph), "some mode")
    participant = Participant("a graph", (), (engine,), {"n": 3, "c": 3, "h": 32, "w": 48})
    weights = random_weights(TINY, 0, "float32")
    checks = compare_participants(TINY, [participant], weights, batches=(1, 2, 5), sizes=1)
    (verdict,) = (each for each in checks if each.check == "float32")
    assert (verdict.status, verdict.probe) == ("pass", "random 32x48, batch 3")
    assert verdict.rows[0].shape == (6, 10)
    assert graph.given == [3, 3]
    assert noise_floor.given == [3, 3] * len(NOISE_FLOOR_MODES)
