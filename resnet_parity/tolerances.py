"""The table of tolerances: every tolerance of this project is here, with its reason.

A relative L2 error is the norm of the difference, divided by the norm of what was expected. The few
numbers of the classifier or of a gate may cancel to almost nothing, so there it is divided by the
norm that the terms would have if they were independent, where that is larger.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tolerance:
    """A limit on one quantity, and the reason for its size."""

    limit: float
    unit: str
    reason: str


TOLERANCES: dict[tuple[str, str], Tolerance] = {
    # The key is the check (or another user of the limit) and the quantity that is limited.
    ("exact", "taps"): Tolerance(
        0,
        "elements that differ in any bit (but for the sign of a zero)",
        "every intermediate of an exact probe is an integer or a dyadic fraction that the dtype "
        "holds, so no order of summation can round",
    ),
    ("exact", "rounding of a norm"): Tolerance(
        2.0**-22,
        "largest relative error of a norm's 1 / sqrt(4), in float32, that counts as rounding",
        "the rough rsqrt of an Intel Xeon is off by 2**-23 in TensorFlow's graph and eager modes; "
        "more than four roundings is a defect, and fails instead of being skipped",
    ),
    ("float64", "taps"): Tolerance(
        1e-12,
        "relative L2 error against the float64 oracle",
        "rounding alone gave at most 5e-15 over all taps of all architectures; an epsilon off by "
        "1e-8 gives 4e-8 at the logits of resnet18",
    ),
    ("float32", "taps"): Tolerance(
        2.0,
        "times the noise floor, which is PyTorch's own float32 error up to the same tap",
        "engines sum in different orders, so their rounding differs, but not in size; the "
        "noise floor is the larger error of PyTorch's two memory layouts on two threads, at least "
        "four roundings (after a mean, a quarter of its cells); it never falls from one tap to the "
        "next",
    ),
    ("float32", "noise floor of taps"): Tolerance(
        1e-5,
        "relative L2 error of PyTorch itself against the float64 oracle",
        "rounding gave at most 2e-6 over all taps of all architectures; an error above this is no "
        "noise floor but a defect of PyTorch's side",
    ),
    ("float32", "taps with TF32"): Tolerance(
        2e-2,
        "relative L2 error of PyTorch on a GPU with TF32 on, against the float64 oracle",
        "TF32 keeps 11 bits of the factors of each product; such rounding on a CPU gave at most "
        "2.4e-3 over all taps of 31 architectures and 8.3e-3 in plain56, which has no shortcuts; a "
        "GPU may truncate instead, which errs by twice as much",
    ),
    ("exact", "gradients"): Tolerance(
        0,
        "elements that differ in any bit (but for the sign of a zero)",
        "the backward pass of an exact probe holds only such numbers too; norms are frozen",
    ),
    ("float64", "gradients"): Tolerance(
        1e-12,
        "relative L2 error against the float64 oracle, in training mode",
        "rounding gave at most 1e-13 in plain networks and 4e-14 in others, in both frameworks",
    ),
    ("float32", "gradients"): Tolerance(
        2.0,
        "times the noise floor, which is PyTorch's own largest float32 error in any gradient",
        "every gradient has the rounding of the whole network in it, and which gradient has the "
        "most depends on the engine; Keras erred by 0.2 to 1.1 times PyTorch's largest error in 18 "
        "networks; in plain ones norms amplify the rounding of means, and their cells count as for "
        "taps",
    ),
    ("float32", "noise floor of gradients"): Tolerance(
        2e-4,
        "relative L2 error of PyTorch's own float32 gradients, in either memory layout",
        "on one thread channels_last adds all cells one by one: 3e-6 to 4e-5 at the default "
        "sizes, 1.1e-4 over the 12,288 cells of resnet20 at 32x96; a ReLU on the wrong side of its "
        "kink changes all gradients by a percent",
    ),
    ("half", "outputs"): Tolerance(
        3.0,
        "times the noise floor of the dtype, which is PyTorch's own error of the model's outputs",
        "each framework rounds to half precision at different places: Keras erred by 0.6 to 1.7 "
        "times PyTorch's error over 32 architectures",
    ),
    ("half", "least noise floor in bfloat16"): Tolerance(
        2.0**-8,
        "relative L2 error",
        "one rounding to the 8 bits of bfloat16, because the outputs are rounded too; a smaller "
        "error is chance",
    ),
    ("half", "noise floor in bfloat16"): Tolerance(
        2e-2,
        "relative L2 error of PyTorch itself against the float64 oracle",
        "rounding gave at most 1.1e-2 over 32 architectures; a larger error is a defect",
    ),
    ("half", "least noise floor in float16"): Tolerance(
        2.0**-11,
        "relative L2 error",
        "one rounding to the 11 bits of float16, because the outputs are rounded too; a smaller "
        "error is chance",
    ),
    ("half", "noise floor in float16"): Tolerance(
        4e-3,
        "relative L2 error of PyTorch itself against the float64 oracle",
        "rounding gave at most 1.6e-3 over 32 architectures; a larger error is a defect",
    ),
    ("prepared", "outputs"): Tolerance(
        2.0,
        "times the noise floor, which is PyTorch's own float32 error at that output without "
        "preparation",
        "folding rounds each kernel and bias once more: both frameworks erred by at most 0.51 "
        "times the noise floor over 48 architectures",
    ),
    ("prepared", "outputs in half precision"): Tolerance(
        3.0,
        "times the noise floor of the dtype, which is PyTorch's own error in mixed precision",
        "as for half, but folded weights are rounded: over 48 architectures both frameworks erred "
        "by at most 1.54 times the noise floor, and in plain44 by 2.61",
    ),
    ("cookbook", "float64"): Tolerance(
        1e-12,
        "relative L2 error of one framework's snippet against the other's",
        "as for taps; no snippet is deeper than one layer",
    ),
    ("cookbook", "float32"): Tolerance(
        1e-5,
        "relative L2 error of one framework's snippet against the other's",
        "as for the noise floor; rounding gave at most 4e-7, in the logits of a whole resnet20",
    ),
    ("cookbook", "bfloat16"): Tolerance(
        2**-7,
        "relative L2 error of one framework's snippet against the other's",
        "one unit in the last place; a dense layer of six inputs gave 4e-3",
    ),
    ("naive comparison", "logits"): Tolerance(
        1e-3,
        "largest absolute or relative difference",
        "not a limit of this project, but what a naive comparison calls equal; tests show which "
        "planted defects it would miss",
    ),
    ("float64", "waived rounding of taps"): Tolerance(
        1e-5,
        "relative L2 error against the float64 oracle",
        "a float64 model that its engine partly computes in float32 errs like float32; a larger "
        "error is a defect and is not waived",
    ),
    ("float64", "waived rounding of gradients"): Tolerance(
        1e-3,
        "relative L2 error against the float64 oracle",
        "as for taps: the error of a gradient in float32",
    ),
    ("exact", "waived rounding of gradients"): Tolerance(
        0.1,
        "relative L2 error of an exact probe's gradients in float64",
        "its sums are integers and often zero, so rounding in float32 turns ReLUs on or off: 1e-2 "
        "in resnet50 on Keras' torch backend, 4e-7 in keras_resnet50, where no ReLU turned",
    ),
    ("export", "tensors"): Tolerance(
        1e-6,
        "largest relative L2 error of a channel of a tensor that an exporter wrote; the error of a "
        "sum is relative to the norm of its summands",
        "rounding gave at most 9.1e-8 in ten networks (6.1e-8 from PyTorch), from Keras on an "
        "Intel Xeon, whose rough rsqrt is used to fold the norms",
    ),
    ("lockstep", "float64"): Tolerance(
        1e-10,
        "relative L2 error between both implementations in a loss, weight, statistic or buffer",
        "at the default recipe 200 steps of resnet18 gave at most 2e-13, 50 of resnet50 2e-12; at "
        "higher learning rates training amplifies rounding beyond this limit, between PyTorch's "
        "two memory layouts as much as between PyTorch and Keras",
    ),
    ("lockstep", "float32"): Tolerance(
        2.0,
        "times the noise floor: PyTorch's own float32 error in the quantity or an earlier one, or, "
        "for what the backward pass computes, in any quantity",
        "at most 1.5 in eight small networks; as for gradients, relative to the size of their "
        "terms, on one thread, and the noise floor is the larger error of PyTorch's two layouts",
    ),
    ("lockstep", "noise floor in float32"): Tolerance(
        2e-4,
        "relative L2 error of PyTorch's float32 step against its float64 step from the same state",
        "as for gradients, for the same reasons; rounding gave 3e-6 to 9e-6 in eight small "
        "networks, 8e-5 in resnet20",
    ),
    ("several devices", "float64"): Tolerance(
        1e-10,
        "relative L2 error in a weight, statistic or buffer between a run on several devices with "
        "synchronised norms and the same run on one",
        "as for lockstep: sums in another order; 4 steps of resnet20 gave at most 4e-15 in two and "
        "three processes of PyTorch and on two devices of TensorFlow",
    ),
    ("several devices", "float32"): Tolerance(
        1e-4,
        "as in float64, for Keras on jax, which computes parts of a float64 model in float32",
        "3 to 6 steps of a small network gave at most 3e-6 on two devices of a CPU",
    ),
    ("diagnose", "outputs"): Tolerance(
        1e-4,
        "relative L2 error between the float32 outputs of two models, and of their layers",
        "rounding gave 7.1e-7 between two frameworks at the logits of resnet50; the proof that the "
        "models are the same is not this limit but the float64 records",
    ),
    ("diagnose", "recorded steps"): Tolerance(
        1e-4,
        "relative L2 error of a recorded step in float64 against the output of the model's layer",
        "rounding gave at most 8.2e-7 over the layers of resnet50 and seresnet18 in both "
        "frameworks; a step recorded as the wrong operation errs by the size of its output",
    ),
    ("diagnose", "unrelated kernels"): Tolerance(
        0.3,
        "mean correlation of the kernels of two models, layer by layer",
        "24 pairs of random models of two or three layers gave at most 0.16; noise of half the "
        "weights' deviation, as of further training, leaves 0.90",
    ),
    ("photographs", "levels"): Tolerance(
        1,
        "largest difference of a level of 0 to 255 from that of the same picture in RGB",
        "Pillow converts YCbCr and LAB to RGB by rounded steps, which moved a grey ramp by one "
        "level; five other formats gave the same levels",
    ),
    ("explain", "maps"): Tolerance(
        1e-9,
        "largest difference of two Grad-CAM maps in float64, relative to the largest value of both",
        "rounding gave at most 1e-14 in four networks with random weights and 2e-15 for 60 "
        "photographs in a trained one; where weighted channels cancel, the largest value may be "
        "small",
    ),
    ("explain", "maps in float32"): Tolerance(
        1e-3,
        "as above, where Keras computes parts of a float64 model in float32",
        "jax and torch as its backend gave at most 6e-7 in resnet18 and resnet20; cancellation "
        "raises it as above",
    ),
    ("import", "absorbed epsilon"): Tolerance(
        1,
        "largest difference in units in the last place of a float32",
        "variance plus epsilon is rounded once, in float32; 300,000 variances gave at most one "
        "unit, and 0.98 where a variance would be negative and gamma takes the difference",
    ),
    ("keras habits", "float32"): Tolerance(
        1e-5,
        "largest absolute difference of probabilities, of their logarithms, or of weights",
        "as for the noise floor; merging an update of LoRA into its kernel moved a probability by "
        "4e-9, and interrupted training continued without any difference",
    ),
    ("results", "impacts"): Tolerance(
        1e-2,
        "relative difference between an impact that is measured again and the stored one",
        "an impact has three digits, of which the last may round another way; those of eleven "
        "differences and mutants were the same on an Intel Xeon and an AMD EPYC",
    ),
    ("results", "errors of taps"): Tolerance(
        4.0,
        "times the stored error of the same tap, or a quarter of it",
        "another processor sums in another order: an Intel Xeon and an AMD EPYC differed by at "
        "most 1.6 times at any tap of resnet20; an error in another dtype differs by 100 times",
    ),
}


def least_noise_floor(cells: int = 1) -> float:
    """The least noise floor in float32: a smaller error is chance, or due to the order of a mean.

    It is four roundings, and after a mean over n cells at least n / 4: TensorFlow adds the cells
    one by one, which can err by n / 2 roundings where the sum grows steadily (it erred by 76 over
    16x24 cells, PyTorch by 4), and an engine may err by twice the noise floor.
    """
    return max(4, cells / 4) * 2.0**-24


def limit(check: str, quantity: str) -> float:
    """The limit of one row of the table."""
    return TOLERANCES[check, quantity].limit
