"""Images of a graph: in batches as they are wanted, and together enough for a verdict."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from resnet_spec import get_architecture

from parity_tests.support import TINY
from resnet_parity.exchange import batches
from resnet_parity.hands import Adapter
from resnet_parity.probes import random_weights
from resnet_parity.probes.random import with_images
from resnet_parity.rungs import Engine

SIZE = (32, 48)


@pytest.fixture(scope="module")
def drawn():
    """Seven probes of one image of that size."""
    return batches.random_probes(TINY, 3, SIZE, random_weights(TINY, 0, "float32"), 7)


def test_images_are_enough_for_a_verdict():
    """Whole batches of them, with 32 numbers or more in the least of what is returned."""
    five = replace(TINY, num_classes=5)
    assert [batches.enough(five, batch, SIZE) for batch in (1, 2, 3, 5, 9)] == [7, 8, 9, 10, 9]
    assert batches.enough(get_architecture("resnet18"), 2, SIZE) == 2
    maps = replace(TINY, num_classes=0, out_indices=(1, 2))
    assert batches.enough(maps, 1, SIZE) == 1


def test_probes_together_are_one_of_all_their_images(drawn):
    """As the oracle has it: what is returned, and the sizes that errors are held against."""
    probe = batches.together(drawn, 2)
    assert probe.kind == "random 32x48, batch 2"
    assert len(np.unique(probe.images[:, 0, 0, 0])) == 7, "no image stands there twice"
    whole = with_images(TINY, 3, probe.weights, probe.images, "random")
    assert list(probe.expected) == ["logits"]
    np.testing.assert_allclose(probe.expected["logits"], whole.expected["logits"], rtol=1e-12)
    assert probe.scales["logits"] == pytest.approx(whole.scales["logits"], rel=1e-12)
    assert probe.scales["logits"] > 0


def test_an_engine_is_given_one_batch_after_another(drawn):
    seen = []

    def run(model, images, mode):
        seen.append(images)
        return {"logits": images[:, 0, 0, :5] * model, "layer1.0": images}

    engine = Engine("some engine", cast(Adapter, SimpleNamespace(run=run)), "some mode")
    probe = batches.together(drawn[:6], 3)
    (given,) = batches.batched([engine], 3)
    found = given.run(2, probe, "taps")
    assert [len(images) for images in seen] == [3, 3]
    np.testing.assert_array_equal(np.concatenate(seen), probe.images)
    assert list(found) == ["logits"], "what nothing is held against takes no memory"
    np.testing.assert_array_equal(found["logits"], 2 * probe.images[:, 0, 0, :5])
