"""A Hypothesis strategy for valid architectures: every field of the spec, in any combination."""

from __future__ import annotations

from zlib import crc32

from hypothesis import assume
from hypothesis import strategies as st

from resnet_spec import Architecture, ArchitectureError, Pool, SqueezeRatio, Stage, Stem
from resnet_spec.components import BlockKind

BORDERS = st.sampled_from(["lowest", "zero"])
POOLS = st.builds(Pool, border=BORDERS) | st.builds(Pool, st.just(5), padding=st.just(2))

STEMS = st.builds(
    Stem,
    channels=st.sampled_from([8, 16, 24]),
    kernel=st.sampled_from([3, 5, 7]),
    stride=st.sampled_from([1, 2]),
    pool=st.none() | POOLS,
    hidden=st.sampled_from([(), (8,), (8, 12)]),
)

GATES = st.builds(
    SqueezeRatio, ratio=st.sampled_from([1 / 16, 0.5]), divisor=st.sampled_from([1, 8])
)

STAGES = st.builds(
    Stage,
    blocks=st.integers(1, 3),
    width=st.sampled_from([4, 8, 16, 32]),
    stride=st.sampled_from([1, 2, 2, 3]),
    dilation=st.sampled_from([1, 1, 1, 2]),
)


@st.composite
def architectures(draw: st.DrawFn) -> Architecture:
    """A small network of one to three stages; a combination that the spec refuses is redrawn."""
    stages = tuple(draw(st.lists(STAGES, min_size=1, max_size=3)))
    shortcut = draw(st.sampled_from(["A", "B", "B-pooled", "C"]))
    groups = draw(st.sampled_from([1, 1, 2, 4]))
    given = {
        "stages": stages,
        "stem": draw(STEMS),
        "groups": groups,
        "width_per_group": 64 // groups,
        "preactivation": draw(st.booleans()),
        "residual": draw(st.sampled_from([True, True, True, False])),
        "shortcut": shortcut,
        "zero_padding": draw(st.sampled_from(["after", "around"])) if shortcut == "A" else "after",
        "avg_down": draw(st.booleans()),
        "stride_in_last_block": draw(st.booleans()),
        "conv_bias": draw(st.sampled_from(["none", "unnormalised", "all"])),
        "se": draw(st.none() | GATES),
        "bn_eps": draw(st.sampled_from([1e-5, 1.001e-5, 1e-3])),
        "in_channels": draw(st.sampled_from([1, 3, 5])),
        "num_classes": draw(st.sampled_from([0, 7, 10])),
    }
    block: BlockKind = draw(st.sampled_from(["basic", "bottleneck"]))
    given["stride_in_1x1"] = block == "bottleneck" and draw(st.booleans())
    given["block"] = block
    try:
        whole = Architecture("whole", **given)
        levels = range(len(stages) + 1)
        chosen = draw(st.none() | st.lists(st.sampled_from(levels), min_size=1, unique=True))
        given["output_stride"] = draw(st.sampled_from([None, *whole.strides]))
        given["out_indices"] = tuple(sorted(chosen)) if chosen else None
        # The name is part of every stream of a probe, so other fields make other draws.
        return Architecture(f"random-{crc32(repr(given).encode()):08x}", **given)
    except ArchitectureError:
        assume(False)
        raise
