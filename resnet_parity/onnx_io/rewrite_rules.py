"""Rules that rewrite what exporters leave over, beside those that onnxscript brings."""

from __future__ import annotations

import numpy as np
from onnxscript import ir
from onnxscript.rewriter.pattern import MatchResult, RewriteRuleClassBase
from onnxscript.rewriter.rules import common

from resnet_parity.onnx_io.nodes import (
    TO_NCHW,
    TO_NHWC,
    axes_of,
    constant,
    flattens,
    pads,
    zeros_of,
)


class PadIntoMaxPool(RewriteRuleClassBase):
    """Zeros around a map that holds nothing negative, seen by a pool: as if nothing were there."""

    def pattern(self, op, x):
        padded = op.Pad(x, _allow_other_inputs=True, _outputs=["padded"])
        return op.MaxPool(padded, _allow_other_attributes=True, _outputs=["pooled"])

    def check(self, context, x, padded, pooled) -> MatchResult:
        result, pool, before = MatchResult(), pooled.producer(), x.producer()
        if before is None or before.op_type != "Relu":
            return result.fail("something in the map may be negative")
        zeros = zeros_of(padded.producer())
        if zeros is None or any(zeros[:2] + zeros[4:6]) or any(pads(pool) or (1,)):
            return result.fail("these are no zeros around a map, or the pool has its own")
        kernel = pool.attributes.get_ints("kernel_shape")
        if any(amount >= extent for amount in zeros for extent in kernel):
            return result.fail("a window would see nothing but zeros")
        return result

    def rewrite(self, op, x, padded, pooled):
        zeros = zeros_of(padded.producer()) or ()
        pool = pooled.producer()
        attributes = {**pool.attributes, "pads": ir.AttrInt64s("pads", zeros[2:4] + zeros[6:])}
        return op.op("MaxPool", x, **attributes)


class PickAfterMaxPool(RewriteRuleClassBase):
    """Every n-th window of a pool that gives them all: a pool that strides."""

    def pattern(self, op, x):
        windows = op.MaxPool(x, _allow_other_attributes=True, _outputs=["windows"])
        return op.MaxPool(windows, _allow_other_attributes=True, _outputs=["picked"])

    def check(self, context, x, windows, picked) -> MatchResult:
        result, first, second = MatchResult(), windows.producer(), picked.producer()
        if len(windows.uses()) > 1:
            return result.fail("something else takes all windows")
        if tuple(first.attributes.get_ints("strides", (1, 1))) != (1, 1):
            return result.fail("the first pool strides")
        if tuple(second.attributes.get_ints("kernel_shape")) != (1, 1) or any(pads(second) or (1,)):
            return result.fail("the second pool does more than pick")
        for pool in (first, second):
            if pool.attributes.get_int("ceil_mode", 0):
                return result.fail("a pool rounds up")
            if set(pool.attributes.get_ints("dilations", (1,))) != {1}:
                return result.fail("a pool is dilated")
        if _symmetric_pads(first) is None:
            return result.fail("the first pool does not keep the size of the map")
        return result

    def rewrite(self, op, x, windows, picked):
        first, second = windows.producer(), picked.producer()
        return op.op(
            "MaxPool",
            x,
            kernel_shape=first.attributes.get_ints("kernel_shape"),
            strides=second.attributes.get_ints("strides", (1, 1)),
            pads=_symmetric_pads(first),
        )


def _symmetric_pads(pool: ir.Node) -> tuple[int, ...] | None:
    """The pads of a pool at stride 1 that keeps the size; None where it does not."""
    kernel = pool.attributes.get_ints("kernel_shape", ())
    half = tuple(extent // 2 for extent in kernel) * 2
    if any(extent % 2 == 0 for extent in kernel):
        return None
    is_same = pool.attributes.get_string("auto_pad", "NOTSET") in ("SAME_UPPER", "SAME_LOWER")
    return half if is_same or pads(pool) == half else None


class SameAveragePool(RewriteRuleClassBase):
    """Means of cells that do not overlap, at the far edge of those that there are."""

    def pattern(self, op, x):
        return op.AveragePool(x, auto_pad="SAME_UPPER", _outputs=["pooled"])

    def check(self, context, x, pooled) -> MatchResult:
        attributes = pooled.producer().attributes
        kernel = tuple(attributes.get_ints("kernel_shape", ()))
        counts = attributes.get_int("count_include_pad", 0)
        if counts or kernel != (2, 2) or tuple(attributes.get_ints("strides", (1, 1))) != kernel:
            return MatchResult().fail("cells overlap, or zeros count")
        return MatchResult()

    def rewrite(self, op, x, pooled):
        shape = pooled.producer().attributes.get_ints("kernel_shape")
        return op.AveragePool(
            x, kernel_shape=shape, strides=shape, ceil_mode=1, count_include_pad=0
        )


class TurnedBack(RewriteRuleClassBase):
    """A map turned into NHWC and back, where it is returned in between, as a backbone does."""

    def __init__(self) -> None:
        # What is returned stays; else the rule would apply only where nothing takes it.
        super().__init__("TurnedBack", remove_nodes=False)

    def pattern(self, op, x):
        return op.Transpose(op.Transpose(x, perm=list(TO_NHWC)), perm=list(TO_NCHW))

    def rewrite(self, op, x):
        return op.Identity(x)


class MeanOfTransposed(RewriteRuleClassBase):
    """A mean over height and width of a map that was turned into NHWC for it."""

    def pattern(self, op, x):
        turned = op.Transpose(x, perm=list(TO_NHWC))
        return op.ReduceMean(
            turned, _allow_other_inputs=True, _allow_other_attributes=True, _outputs=["mean"]
        )

    def check(self, context, x, mean) -> MatchResult:
        result, node = MatchResult(), mean.producer()
        if node.attributes.get_int("keepdims", 1):
            return result.fail("it keeps its axes")
        if axes_of(node) != (1, 2):
            return result.fail("it is over other axes than height and width")
        return result

    def rewrite(self, op, x, mean):
        return _mean_of_map(op, x)


class FlatMean(RewriteRuleClassBase):
    """A mean that keeps two axes of one cell, and loses them at once."""

    def pattern(self, op, x):
        mean = op.ReduceMean(
            x, _allow_other_inputs=True, _allow_other_attributes=True, _outputs=["mean"]
        )
        return op.Reshape(
            mean, _allow_other_inputs=True, _allow_other_attributes=True, _outputs=["flat"]
        )

    def check(self, context, x, mean, flat) -> MatchResult:
        result, node = MatchResult(), mean.producer()
        if axes_of(node) != (2, 3) or not node.attributes.get_int("keepdims", 1):
            return result.fail("it is no mean over height and width that keeps them")
        channels = None if mean.shape is None else mean.shape[1]
        if not isinstance(channels, int) or not flattens(flat.producer(), channels):
            return result.fail("it moves more than two axes of one cell")
        return result

    def rewrite(self, op, x, mean, flat):
        return _mean_of_map(op, x)


def _mean_of_map(op, x):
    """The mean over height and width of an NCHW map, (N, C)."""
    return op.ReduceMean(x, op.Constant(value=ir.tensor(np.array([2, 3]))), keepdims=0)


class ConvHead(RewriteRuleClassBase):
    """A classifier that is a 1x1 convolution of one cell (timm's heads): a dense layer."""

    def __init__(self, flattener: str) -> None:
        super().__init__(f"ConvHead{flattener}")
        self.flattener = flattener

    def pattern(self, op, x):
        head = op.Conv(x, _allow_other_inputs=True, _allow_other_attributes=True, _outputs=["head"])
        flatten = getattr(op, self.flattener)
        return flatten(
            head, _allow_other_inputs=True, _allow_other_attributes=True, _outputs=["flat"]
        )

    def check(self, context, x, head, flat) -> MatchResult:
        result, before = MatchResult(), x.producer()
        kernel = constant(head.producer(), 1)
        if before is None or before.op_type not in ("ReduceMean", "GlobalAveragePool"):
            return result.fail("it does not follow a global average")
        if kernel is None or kernel.shape[2:] != (1, 1) or any(pads(head.producer()) or (1,)):
            return result.fail("it is no 1x1 convolution of what there is")
        attributes = head.producer().attributes
        if attributes.get_int("group", 1) != 1 or set(attributes.get_ints("strides", (1,))) != {1}:
            return result.fail("it has groups or a stride")
        if not flattens(flat.producer(), kernel.shape[0]):
            return result.fail("it moves more than two axes of one cell")
        if before.op_type == "ReduceMean" and not before.attributes.get_int("keepdims", 1):
            return result.fail("it does not take one cell")
        return result

    def rewrite(self, op, x, head, flat):
        node = head.producer()
        kernel = constant(node, 1)
        assert kernel is not None  # the check has seen it
        weight = op.initializer(ir.tensor(kernel[:, :, 0, 0]), name=f"{node.inputs[1].name}.dense")
        mean = _mean_of_map(op, x.producer().inputs[0])
        return op.Gemm(mean, weight, *node.inputs[2:], transB=1)


class AffineIsNorm(RewriteRuleClassBase):
    """A factor and then a term per channel: a norm whose statistics do nothing.

    So Keras' exporter writes all norms that it cannot fold.
    """

    def pattern(self, op, x, factor, term):
        return op.Add(op.Mul(x, factor), term)

    def check(self, context, x, factor, term) -> MatchResult:
        result, are_both = MatchResult(), _fits(x, factor) and _fits(x, term)
        return result if are_both else result.fail("these are no two constants per channel")

    def rewrite(self, op, x, factor, term):
        scale, bias = (value.const_value.numpy().ravel() for value in (factor, term))
        return _plain_norm(op, x, factor.name, scale, bias)


class FactorIsNorm(RewriteRuleClassBase):
    """A factor per channel alone: a norm whose term is zero, which Keras' exporter leaves out."""

    def pattern(self, op, x, factor):
        return op.Mul(x, factor)

    def check(self, context, x, factor) -> MatchResult:
        result = MatchResult()
        return result if _fits(x, factor) else result.fail("this is no constant per channel")

    def rewrite(self, op, x, factor):
        scale = factor.const_value.numpy().ravel()
        return _plain_norm(op, x, factor.name, scale, np.zeros_like(scale))


class TermIsNorm(RewriteRuleClassBase):
    """A term per channel alone: a norm whose factor is one, which Keras' exporter leaves out."""

    def pattern(self, op, x, term):
        return op.Add(x, term)

    def check(self, context, x, term) -> MatchResult:
        result = MatchResult()
        return result if _fits(x, term) else result.fail("this is no constant per channel")

    def rewrite(self, op, x, term):
        bias = term.const_value.numpy().ravel()
        return _plain_norm(op, x, term.name, np.ones_like(bias), bias)


class DenseWithoutBias(RewriteRuleClassBase):
    """A classifier whose bias is zero, which Keras' exporter leaves out."""

    def pattern(self, op, x, kernel):
        return op.MatMul(x, kernel)

    def check(self, context, x, kernel) -> MatchResult:
        result, array = MatchResult(), kernel.const_value
        if array is None or len(array.numpy().shape) != 2 or kernel.is_graph_input():
            return result.fail("its kernel is no constant matrix")
        if x.shape is None or x.shape.rank() != 2:
            return result.fail("its input is no matrix")
        return result

    def rewrite(self, op, x, kernel):
        return op.Gemm(x, kernel)


def _fits(x: ir.Value, number: ir.Value) -> bool:
    """Whether it is a constant with a number for every channel of a map."""
    channels = _channels(number)
    if channels is None or x.shape is None:
        return False
    return x.shape.rank() == 4 and x.shape[1] == channels


def _plain_norm(op, x, name: str, scale: np.ndarray, bias: np.ndarray):
    """A norm with those, whose statistics do nothing."""
    eps = np.float32(1e-5)
    arrays = {"scale": scale, "bias": bias, "mean": np.zeros_like(scale)}
    arrays["variance"] = np.full_like(scale, 1 - eps)
    tensors = [
        op.initializer(ir.tensor(array), name=f"{name}.{x.name}.{what}")
        for what, array in arrays.items()
    ]
    return op.BatchNormalization(x, *tensors, epsilon=float(eps))


def _channels(value: ir.Value) -> int | None:
    """How many channels a constant has one number for; None for any other value."""
    if value.const_value is None or value.is_graph_input():
        return None
    shape = value.const_value.numpy().shape
    is_per_channel = len(shape) in (3, 4) and shape[-2:] == (1, 1) and shape[:-3] in ((), (1,))
    return shape[-3] if is_per_channel else None


class SameShape(RewriteRuleClassBase):
    """A map given the shape that it has."""

    def pattern(self, op, x, shape):
        return op.Reshape(x, shape, _allow_other_attributes=True, _outputs=["reshaped"])

    def check(self, context, x, shape, reshaped) -> MatchResult:
        result, wanted = MatchResult(), constant(reshaped.producer(), 1)
        if wanted is None or x.shape is None or len(wanted) != x.shape.rank():
            return result.fail("one of the shapes is not known, or their ranks differ")
        extents = zip(wanted.tolist(), x.shape, strict=True)
        guessed = [extent == -1 for extent in wanted.tolist()]
        if sum(guessed) > 1 or not all(w in (0, -1) or w == e for w, e in extents):
            return result.fail("it is another shape")
        return result

    def rewrite(self, op, x, shape, reshaped):
        return op.Identity(x)


class OneChannelToNchw(RewriteRuleClassBase):
    """Images of one channel turned to NCHW by giving them another shape: a transposition."""

    def pattern(self, op, x, before, shape):
        wider = op.Unsqueeze(x, before, _outputs=["wider"])
        return op.Reshape(wider, shape, _allow_other_attributes=True, _outputs=["turned"])

    def check(self, context, x, before, shape, wider, turned) -> MatchResult:
        result = MatchResult()
        axes, wanted = constant(wider.producer(), 1), constant(turned.producer(), 1)
        if x.shape is None or x.shape.rank() != 4 or x.shape[3] != 1:
            return result.fail("this is no NHWC image of one channel")
        pair = [None if array is None else array.tolist() for array in (axes, wanted)]
        if pair != [[0], [-1, 1, 0, 0]]:
            return result.fail("it becomes something else")
        return result

    def rewrite(self, op, x, before, shape, wider, turned):
        return op.Transpose(x, perm=[0, 3, 1, 2])


RULES = (
    OneChannelToNchw.rule(),
    AffineIsNorm.rule(),
    SameShape.rule(),
    common.fuse_pad_into_conv_rule,
    common.normalize_pad_format_conv_rule,
    common.no_op_transpose_rule,
    common.transpose_transpose_rule,
    TurnedBack.rule(),
    common.matmul_add_to_gemm_rule,
    PadIntoMaxPool.rule(),
    PickAfterMaxPool.rule(),
    SameAveragePool.rule(),
    MeanOfTransposed.rule(),
    ConvHead.rule("Reshape"),
    ConvHead.rule("Flatten"),
    FlatMean.rule(),
)

LEFT_ALONE = (FactorIsNorm.rule(), TermIsNorm.rule(), DenseWithoutBias.rule())
"""For what is left when those have been tried: part of a norm or of a dense layer."""
