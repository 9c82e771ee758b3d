"""The spec: published counts, names and shapes, and what it refuses."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torchvision

from resnet_spec import (
    ARCHITECTURES,
    Architecture,
    ArchitectureError,
    Pool,
    Stage,
    Stem,
    get_architecture,
    mac_count,
    make_plan,
    parameter_count,
    parameters,
    stages,
    taps,
)

from parity_tests.support import ALL_NAMES, USERS

# torchvision's published table: https://docs.pytorch.org/vision/stable/models.html
# (parameters, and "GFLOPS", which are multiply-accumulates at 224x224, rounded to two places).
PUBLISHED = {
    "resnet18": (11_689_512, 1.81),
    "resnet34": (21_797_672, 3.66),
    "resnet50": (25_557_032, 4.09),
    "resnet101": (44_549_160, 7.80),
    "resnet152": (60_192_808, 11.51),
    "resnext50_32x4d": (25_028_904, 4.23),
    "resnext101_32x8d": (88_791_336, 16.41),
    "resnext101_64x4d": (83_455_272, 15.46),
    "wide_resnet50_2": (68_883_240, 11.40),
    "wide_resnet101_2": (126_886_696, 22.75),
}


@pytest.mark.parametrize("name", ALL_NAMES)
def test_counts_are_the_published_ones(name):
    arch = ARCHITECTURES[name]
    assert (parameter_count(arch), round(mac_count(arch) / 1e9, 2)) == PUBLISHED[name]


def test_every_row_has_a_published_count_and_a_source():
    assert set(PUBLISHED) == set(ARCHITECTURES)
    assert all("arXiv:" in arch.source for arch in ARCHITECTURES.values())


@pytest.mark.parametrize("name", ALL_NAMES)
def test_names_shapes_and_order_are_torchvisions(name):
    with torch.device("meta"):  # names and shapes without numbers
        state = getattr(torchvision.models, name)().state_dict()
    theirs = [
        (key, tuple(value.shape))
        for key, value in state.items()
        if not key.endswith("num_batches_tracked")
    ]
    assert [(p.name, p.shape) for p in parameters(ARCHITECTURES[name])] == theirs


@pytest.mark.parametrize("arch", [*ARCHITECTURES.values(), *USERS], ids=lambda arch: arch.name)
def test_names_are_unique_and_axes_fit(arch):
    tensors = parameters(arch)
    assert len({p.name for p in tensors}) == len({p.keras_name for p in tensors}) == len(tensors)
    for p in tensors:
        assert len(p.axes) == len(p.shape)
        assert sorted(p.axes) == sorted(p.keras_axes)
        assert "." not in p.keras_name


def test_bottleneck_strides_in_its_3x3():
    block = make_plan(ARCHITECTURES["resnet50"]).stages[1].blocks[0]
    assert [conv.stride for conv in block.convs] == [1, 2, 1]
    assert block.shortcut == "projection"
    assert [b.shortcut for b in make_plan(ARCHITECTURES["resnet50"]).stages[1].blocks[1:]] == [
        "identity"
    ] * 3


def test_bn_decay_and_update_are_decimal_partners():
    norm = make_plan(ARCHITECTURES["resnet18"]).bn1
    assert (norm.decay, norm.update) == (0.9, 0.1)  # not 1 - 0.9 = 0.09999999999999998


def test_taps_at_an_odd_size():
    found = {tap.name: tap.shape for tap in taps(ARCHITECTURES["resnet18"], 65, 97)}
    assert found["conv1"] == (64, 33, 49)
    assert found["maxpool"] == (64, 17, 25)
    assert found["layer4.1"] == (512, 3, 4)
    assert found["fc"] == (1000,)


def test_zero_init_residual_marks_the_last_norm_of_each_block():
    plan = make_plan(get_architecture("resnet50", zero_init_residual=True))
    for block in plan.blocks:
        assert [norm.gamma_init for norm in block.norms] == [1.0, 1.0, 0.0]
        assert block.projection is None or block.projection[1].gamma_init == 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"block": "inverted"}, "unknown block 'inverted'.*basic, bottleneck"),
        ({"stages": ()}, "no stages"),
        ({"stages": (Stage(0, 64),)}, r"stages\[0\].blocks must be at least 1, not 0"),
        ({"stages": [Stage(1, 64)]}, "tuple of Stage"),
        ({"stages": (Stage(1, 64, stride=0),)}, "stride must be at least 1"),
        ({"stages": (Stage(1, 64, dilation=-1),)}, "dilation must be at least 1"),
        ({"stages": (Stage(1, 64, stride=2, dilation=2),)}, "both stride and dilation"),
        ({"block": "basic", "groups": 5}, "not divisible by groups 5"),
        ({"width_per_group": 3, "stages": (Stage(1, 32),)}, "not a multiple of 64"),
        ({"groups": 0}, "groups must be at least 1"),
        ({"num_classes": 0}, "num_classes must be at least 1"),
        ({"num_classes": 2.5}, "num_classes must be an integer, not 2.5"),
        ({"in_channels": True}, "in_channels must be an integer"),
        ({"bn_eps": 0.0}, "bn_eps must lie between"),
        ({"bn_eps": "small"}, "bn_eps must be a float"),
        ({"bn_decay": False}, "bn_decay must be a float"),
        ({"name": "a/b"}, "its name must be letters"),
        ({"name": None}, "its name must be letters"),
        ({"zero_init_residual": "no"}, "zero_init_residual must be True or False"),
        ({"stem": Stem(pool=Pool(padding=1.0))}, "stem.pool.padding must be an integer"),  # pyright: ignore[reportArgumentType]
        ({"bn_decay": 1.0}, r"bn_decay .* must lie in \[0, 1\)"),
        ({"stem": Stem(kernel=4)}, "stem.kernel must be odd"),
        ({"stem": Stem(pool=Pool(kernel=3, padding=0))}, "padding = kernel // 2"),
        ({"stem": None}, "stem must be a Stem"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_bad_architecture_says_what_is_wrong(change, message):
    with pytest.raises(ArchitectureError, match=message):
        dataclasses.replace(ARCHITECTURES["resnet50"], **change)


def test_all_problems_are_named_at_once():
    with pytest.raises(ArchitectureError) as caught:
        Architecture("mine", "basic", stages(1), bn_eps=2.0, num_classes=0, in_channels=0)
    assert all(word in str(caught.value) for word in ("bn_eps", "num_classes", "in_channels"))


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(ArchitectureError, match=r"did you mean resnet50"):
        get_architecture("ResNet-50")


def test_an_unknown_field_suggests_the_nearest():
    with pytest.raises(ArchitectureError, match=r"no field 'num_class' \(did you mean num_classes"):
        get_architecture("resnet50", num_class=10)


def test_something_else_than_an_architecture_is_refused():
    with pytest.raises(ArchitectureError, match="not int"):
        get_architecture(50)  # pyright: ignore[reportArgumentType]


def test_an_image_without_pixels_is_refused():
    with pytest.raises(ArchitectureError, match="positive height and width"):
        taps(ARCHITECTURES["resnet18"], 0, 32)
