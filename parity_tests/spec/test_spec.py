"""The spec: published counts, names and shapes, and the architectures that it refuses."""

from __future__ import annotations

import dataclasses

import pytest
import timm
import torch
import torchvision

from resnet_spec import (
    ARCHITECTURES,
    GROUPS,
    Architecture,
    ArchitectureError,
    ChannelPad,
    MaxPool,
    Norm,
    Pool,
    SqueezeRatio,
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

import resnet_torch
from parity_tests.support import ALL_NAMES, USERS

# torchvision's published table: https://docs.pytorch.org/vision/stable/models.html
# (parameters, and "GFLOPS", which are multiply-accumulates at 224x224, rounded to two places).
TORCHVISION = {
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

# All parameters, with the statistics, as https://keras.io/api/applications/ rounds them (25.6M).
KERAS_APPLICATIONS = {
    "keras_resnet50": 25_636_712,
    "keras_resnet101": 44_707_176,
    "keras_resnet152": 60_419_944,
    "keras_resnet50v2": 25_613_800,
    "keras_resnet101v2": 44_675_560,
    "keras_resnet152v2": 60_380_648,
}

# He et al. 2015, table 6, in millions; the plain networks of section 4.2 have the same layers; and
# He et al. 2016, arXiv:1603.05027, table 4 (its ResNet-164).
CIFAR = {
    "resnet20": 0.27,
    "resnet32": 0.46,
    "resnet44": 0.66,
    "resnet56": 0.85,
    "resnet110": 1.7,
    "resnet1202": 19.4,
    "plain20": 0.27,
    "plain32": 0.46,
    "plain44": 0.66,
    "plain56": 0.85,
    "resnetv2_110": 1.7,
    "resnetv2_164": 1.7,
}

# What https://github.com/kuangliu/pytorch-cifar prints for its models with ten classes.
SMALL_STEM = {"resnet18_small": 11_173_962, "resnet50_small": 23_520_842}

# He et al. 2015, table 1, has no counts for the shortcut options. Counted here from the published
# numbers of resnet34 and resnet50: (row with option B, parameters more than that row).
PROJECTION_34 = ((64, 128), (128, 256), (256, 512))
PROJECTION_50 = ((64, 256), (256, 512), (512, 1024), (1024, 2048))


def projections(*pairs: tuple[int, ...]) -> int:
    """The number of parameters of projections (channels before, after) with their norms."""
    return sum(before * after + 2 * after for before, after in pairs)


OPTIONS = {
    "resnet34_a": ("resnet34", -projections(*PROJECTION_34)),
    "resnet50_a": ("resnet50", -projections(*PROJECTION_50)),
    "resnet34_c": (
        "resnet34",
        projections(*[(64, 64)] * 3, *[(128, 128)] * 3, *[(256, 256)] * 5, *[(512, 512)] * 2),
    ),
    "resnet50_c": (
        "resnet50",
        projections(*[(256,) * 2] * 2, *[(512,) * 2] * 3, *[(1024,) * 2] * 5, *[(2048,) * 2] * 2),
    ),
    "plain18": ("resnet18", -projections(*PROJECTION_34)),
    "plain34": ("resnet34", -projections(*PROJECTION_34)),
    "resnet50_v1": ("resnet50", 0),
    "resnet101_v1": ("resnet101", 0),
    "resnet152_v1": ("resnet152", 0),
    "resnet34_small": ("resnet34", -(990 * 513) - 64 * 3 * (49 - 9)),
    "resnetv2_18_small": ("resnetv2_18", -(990 * 513) - 64 * 3 * (49 - 9)),
}

TIMM = [
    *(f"resnetv2_{depth}" for depth in (18, 34, 50, 101, 152)),
    *(f"resnet{depth}d" for depth in (18, 34, 50, 101, 152)),
    *(f"resnetv2_{depth}d" for depth in (50, 101, 152)),
    "resnet50c",
    *(f"seresnet{depth}" for depth in (18, 34, 50, 101, 152)),
    "seresnext50_32x4d",
    "seresnet152d",
]


@pytest.mark.parametrize("name", TORCHVISION)
def test_counts_are_torchvisions(name):
    arch = ARCHITECTURES[name]
    assert (parameter_count(arch), round(mac_count(arch) / 1e9, 2)) == TORCHVISION[name]


@pytest.mark.parametrize("name", KERAS_APPLICATIONS)
def test_counts_are_those_of_keras_applications(name):
    assert sum(p.size for p in parameters(ARCHITECTURES[name])) == KERAS_APPLICATIONS[name]


@pytest.mark.parametrize("name", CIFAR)
def test_counts_are_those_of_the_papers_cifar_nets(name):
    """The papers give two digits."""
    millions = parameter_count(ARCHITECTURES[name]) / 1e6
    assert round(millions, 1 if CIFAR[name] > 1 else 2) == CIFAR[name]


@pytest.mark.parametrize("name", SMALL_STEM)
def test_counts_are_those_of_pytorch_cifar(name):
    assert parameter_count(ARCHITECTURES[name]) == SMALL_STEM[name]


@pytest.mark.parametrize("name", OPTIONS)
def test_counts_follow_from_those_of_option_b(name):
    base, more = OPTIONS[name]
    assert parameter_count(ARCHITECTURES[name]) == parameter_count(ARCHITECTURES[base]) + more


@pytest.mark.parametrize("name", TIMM)
def test_counts_are_timms(name):
    with torch.device("meta"):
        theirs = timm.create_model(name)
    count = sum(value.numel() for value in theirs.parameters())
    assert parameter_count(ARCHITECTURES[name]) == count


def test_every_row_has_a_published_count_and_a_source():
    pinned = {*TORCHVISION, *KERAS_APPLICATIONS, *CIFAR, *SMALL_STEM, *OPTIONS, *TIMM}
    assert pinned == set(ARCHITECTURES)
    assert all("arXiv:" in arch.source for arch in ARCHITECTURES.values())
    assert sum(len(rows) for rows in GROUPS.values()) == len(ARCHITECTURES) >= 45


@pytest.mark.parametrize("name", TORCHVISION)
def test_names_shapes_and_order_are_torchvisions(name):
    with torch.device("meta"):  # names and shapes without numbers
        state = getattr(torchvision.models, name)().state_dict()
    theirs = [
        (key, tuple(value.shape))
        for key, value in state.items()
        if not key.endswith("num_batches_tracked")
    ]
    assert [(p.name, p.shape) for p in parameters(ARCHITECTURES[name])] == theirs


@pytest.mark.parametrize("name", ALL_NAMES)
def test_the_torch_implementation_registers_the_tensors_in_the_order_of_the_spec(name):
    with torch.device("meta"):
        state = resnet_torch.create_model(name).state_dict()
    ours = [key for key in state if not key.endswith("num_batches_tracked")]
    assert ours == [p.name for p in parameters(ARCHITECTURES[name])]


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
    assert block.projects
    others = make_plan(ARCHITECTURES["resnet50"]).stages[1].blocks[1:]
    assert [b.shortcut for b in others] == [()] * 3


def test_bn_decay_and_update_are_decimal_partners():
    norm = next(make_plan(ARCHITECTURES["resnet18"]).blocks).bn1
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
        assert all(n.gamma_init == 1.0 for n in block.shortcut if isinstance(n, Norm))


def test_zero_init_residual_with_preactivation_marks_the_last_kernel():
    plan = make_plan(get_architecture("resnetv2_50", zero_init_residual=True))
    for block in plan.blocks:
        assert [conv.zero_init for conv in block.convs] == [False, False, True]
        assert all(norm.gamma_init == 1.0 for norm in block.norms)


def test_keras_applications_v2_strides_in_the_last_block_of_a_stage():
    stage = make_plan(ARCHITECTURES["keras_resnet50v2"]).stages[0]
    assert [block.conv2.stride for block in stage.blocks] == [1, 1, 2]
    assert stage.blocks[2].shortcut == (MaxPool("layer1.2.downsample.0", kernel=1, stride=2),)
    assert [[conv.bias for conv in block.convs] for block in stage.blocks] == [
        [False, False, True]
    ] * 3


def test_option_a_says_where_its_zeros_are():
    for placement, zeros in (("after", (0, 16)), ("around", (8, 8))):
        arch = get_architecture("resnet20", zero_padding=placement)
        assert make_plan(arch).stages[1].blocks[0].shortcut == (
            MaxPool("layer2.0.downsample.0", kernel=1, stride=2),
            ChannelPad("layer2.0.downsample.1", 16, *zeros),
        )


@pytest.mark.parametrize("name", ["resnet50", "resnet18", "resnetv2_50"])
def test_dilation_takes_the_place_of_stride(name):
    """The convolutions after the one that lost its stride are dilated (torchvision, timm)."""
    plan = make_plan(get_architecture(name, output_stride=8))
    spatial = [
        [(conv.stride, conv.dilation) for block in stage.blocks for conv in block.convs][:4]
        for stage in plan.stages
    ]
    third = [(1, 1), (1, 1), (1, 1), (1, 1)] if name != "resnet18" else [(1, 1)] + [(1, 2)] * 3
    assert spatial[2] == third
    dilations = [{conv.dilation for conv in block.convs} for block in plan.stages[3].blocks]
    expected = {"resnet18": {2, 4}}.get(name, {1, 2})
    assert dilations[0] == expected
    assert max(dilations[1]) == 4


def test_backbone_features():
    plan = make_plan(get_architecture("resnet50", features_only=True))
    assert [(f.channels, f.reduction) for f in plan.features] == [
        (64, 2),
        (256, 4),
        (512, 8),
        (1024, 16),
        (2048, 32),
    ]
    short = get_architecture("resnet50", features_only=True, out_indices=[0, 2], output_stride=4)
    features = make_plan(short).features
    assert [(f.name, f.reduction) for f in features] == [("relu", 2), ("layer2.3", 4)]
    assert not any(p.name.startswith(("layer3", "fc")) for p in parameters(short))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"block": "inverted"}, "block must be one of basic, bottleneck, not 'inverted'"),
        ({"stages": ()}, "no stages"),
        ({"stages": (Stage(0, 64),)}, r"stages\[0\].blocks must be at least 1, not 0"),
        ({"stages": [Stage(1, 64)]}, "tuple of Stage"),
        ({"stages": (Stage(1, 64, stride=0),)}, "stride must be at least 1"),
        ({"stages": (Stage(1, 64, dilation=-1),)}, "dilation must be at least 1"),
        ({"stages": (Stage(1, 64, stride=2, dilation=2),)}, "both stride and dilation"),
        ({"block": "basic", "groups": 5}, "not divisible by groups 5"),
        ({"width_per_group": 3, "stages": (Stage(1, 32),)}, "not a multiple of 64"),
        ({"groups": 0}, "groups must be at least 1"),
        ({"num_classes": -1}, "num_classes must be at least 0"),
        (
            {"residual": False, "shortcut": "C"},
            "'C' on a plain network: it has no shortcuts; leave",
        ),
        ({"residual": False, "avg_down": True}, "avg_down is about shortcuts"),
        ({"residual": False, "zero_init_residual": True}, "zero_init_residual is about"),
        ({"shortcut": "D"}, "shortcut must be one of A, B, B-pooled, C, not 'D'"),
        ({"shortcut": "A", "avg_down": True}, "avg_down is about projections.*take 'B' or 'C'"),
        ({"zero_padding": "around"}, "zero_padding is about shortcut 'A'.*leave it at 'after'"),
        ({"shortcut": "A", "stages": (Stage(1, 8),)}, "narrows from 64 to 32.*take 'B' or 'C'"),
        ({"block": "basic", "stride_in_1x1": True}, "a basic block has no 1x1"),
        ({"se": SqueezeRatio(ratio=0.0)}, r"se.ratio must be above 0 and.*\(1/16 is usual\)"),
        ({"se": SqueezeRatio(divisor=0)}, "se.divisor must be at least 1"),
        ({"se": True}, "se must be a SqueezeRatio, not bool"),
        ({"output_stride": 12}, "it may be 4, 8, 16 or 32"),
        ({"output_stride": 2}, "the stem has stride 4, the whole network 32, so it may be"),
        ({"output_stride": 0}, "output_stride must be at least 1"),
        ({"out_indices": (4, 1)}, r"must be some of \(0, 1, 2, 3, 4\), each once and in order"),
        ({"out_indices": (5,)}, r"some of \(0, 1, 2, 3, 4\)"),
        ({"out_indices": ()}, r"out_indices \(\) of a backbone's features must be some of"),
        ({"out_indices": [1]}, "out_indices must be a tuple of int"),
        ({"stem": Stem(hidden=(0,))}, r"stem.hidden\[0\] must be at least 1"),
        ({"conv_bias": True}, "conv_bias must be one of none, unnormalised, all"),
        ({"num_classes": 2.5}, "num_classes must be an integer, not 2.5"),
        ({"in_channels": True}, "in_channels must be an integer"),
        ({"bn_eps": 0.0}, "bn_eps must lie between"),
        ({"bn_eps": "small"}, "bn_eps must be a float"),
        ({"bn_decay": False}, "bn_decay must be a float"),
        ({"name": "a/b"}, "its name must be letters"),
        ({"name": None}, "name must be text, not None"),
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
        Architecture("mine", "basic", stages(1), bn_eps=2.0, num_classes=-1, in_channels=0)
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


def test_a_stride_that_a_small_net_does_not_have_is_refused():
    with pytest.raises(
        ArchitectureError, match=r"output_stride 8 cannot be reached.*may be 1, 2 or 4"
    ):
        get_architecture("resnet20", output_stride=8)


def test_a_backbone_has_no_classes_and_a_list_of_indices():
    with pytest.raises(ArchitectureError, match="leave num_classes out"):
        get_architecture("resnet18", features_only=True, num_classes=7)
    with pytest.raises(ArchitectureError, match=r"as in \(1, 4\) or \(4,\), not 4"):
        get_architecture("resnet18", features_only=True, out_indices=4)  # pyright: ignore[reportArgumentType]


def test_out_indices_need_features_only():
    with pytest.raises(ArchitectureError, match="out_indices needs features_only=True"):
        get_architecture("resnet50", out_indices=(1,))


def test_an_image_without_pixels_is_refused():
    with pytest.raises(ArchitectureError, match="positive height and width"):
        taps(ARCHITECTURES["resnet18"], 0, 32)
