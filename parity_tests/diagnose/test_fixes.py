"""A fix is a line to write: it has A's numbers, not a name for them."""

from __future__ import annotations

import pytest

from resnet_parity.diagnose.candidates import format_setting
from resnet_parity.diagnose.faults import FAULTS
from resnet_parity.diagnose.record import SAME

PADDINGS = {
    ((1, 1), (1, 1)): (
        "padding=1",
        "ZeroPadding2D(1), then the layer with padding='valid'",
    ),
    ((0, 0), (0, 0)): ("padding=0", "the layer with padding='valid'"),
    ((0, 1), (2, 3)): (
        "F.pad(x, (2, 3, 0, 1)), then the layer with padding=0",
        "ZeroPadding2D(((0, 1), (2, 3))), then the layer with padding='valid'",
    ),
    SAME: ("F.pad with the numbers of SAME: max(", "padding='same'"),
}


@pytest.mark.parametrize("fault", ["padding", "same-padding", "pool-padding", "same-pool"])
@pytest.mark.parametrize("pad", PADDINGS, ids=str)
def test_the_fix_of_a_padding_has_its_numbers(fault, pad):
    a = format_setting("pad", pad)
    torch, keras = (FAULTS[fault].fix(framework, a, "B's") for framework in ("torch", "keras"))
    assert torch.startswith(PADDINGS[pad][0])
    assert keras == PADDINGS[pad][1]


@pytest.mark.parametrize(
    ("shape", "torch", "keras"),
    [
        ("1000x512", "Linear(512, 1000)", "Dense(1000)"),
        ("64x3x7x7", "out_channels=64, kernel_size=(7, 7);", "filters=64, kernel_size=(7, 7);"),
        ("64", "a batch norm over 64 channels", "a batch norm over 64 channels"),
    ],
)
def test_the_fix_of_a_shape_is_the_layer(shape, torch, keras):
    assert FAULTS["layer-shape"].fix("torch", shape, "37x512").startswith(torch)
    assert FAULTS["layer-shape"].fix("keras", shape, "37x512").startswith(keras)


def test_several_values_of_a_are_all_written():
    fix = FAULTS["padding"].fix("torch", "1 on every side or 3 on every side", "")
    assert fix == "padding=1; or, as in A, padding=3"


@pytest.mark.parametrize("fault", FAULTS)
def test_no_fix_leaves_a_number_to_look_up(fault):
    for framework in ("torch", "keras"):
        fix = FAULTS[fault].fix(framework, "1 on every side", "2 on every side")
        assert "{" not in fix
        assert "A's padding" not in fix and "A's p;" not in fix
