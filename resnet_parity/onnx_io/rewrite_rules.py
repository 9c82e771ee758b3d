"""Rules that rewrite what exporters write into the operators of the spec, besides onnxscript's."""

from __future__ import annotations

import numpy as np
from onnxscript import ir
from onnxscript.rewriter.pattern import MatchResult, RewriteRuleClassBase
from onnxscript.rewriter.rules import common

from resnet_parity.onnx_io import nodes

_ANY = {"_allow_other_inputs": True, "_allow_other_attributes": True}
"""For an operator of a pattern, whatever its attributes and further inputs."""


def match_if(holds: bool, reason: str) -> MatchResult:
    """A match, or a failure with that reason."""
    return MatchResult() if holds else MatchResult().fail(reason)


class OperatorRule(RewriteRuleClassBase):
    """A rule that is made for several operators, one each."""

    def __init__(self, operator: str) -> None:
        super().__init__(f"{type(self).__name__}{operator}")
        self.operator = operator


class FuseZeroPadIntoMaxPool(RewriteRuleClassBase):
    """Zeros around a map without negative values become the padding of the max-pool after them."""

    def pattern(self, op, x):
        padded = op.Pad(x, _allow_other_inputs=True, _outputs=["padded"])
        return op.MaxPool(padded, _allow_other_attributes=True, _outputs=["pooled"])

    def check(self, context, x, padded, pooled) -> MatchResult:
        result, pool, before = MatchResult(), pooled.producer(), x.producer()
        if before is None or before.op_type != "Relu":
            return result.fail("the map may hold negative values")
        zeros = nodes.zeros_of(padded.producer())
        if zeros is None or any(zeros[:2] + zeros[4:6]) or any(nodes.pads(pool) or (1,)):
            return result.fail("it does not pad a map with zeros, or the pool pads as well")
        kernel = pool.attributes.get_ints("kernel_shape")
        if any(amount >= extent for amount in zeros for extent in kernel):
            return result.fail("a window would hold nothing but zeros")
        return result

    def rewrite(self, op, x, padded, pooled):
        zeros = nodes.zeros_of(padded.producer()) or ()
        pool = pooled.producer()
        attributes = {**pool.attributes, "pads": ir.AttrInt64s("pads", zeros[2:4] + zeros[6:])}
        return op.op("MaxPool", x, **attributes)


class FuseSubsamplingIntoMaxPool(RewriteRuleClassBase):
    """A max-pool with stride 1, subsampled by a 1x1 max-pool, becomes a max-pool with a stride."""

    def pattern(self, op, x):
        windows = op.MaxPool(x, _allow_other_attributes=True, _outputs=["windows"])
        return op.MaxPool(windows, _allow_other_attributes=True, _outputs=["subsampled"])

    def check(self, context, x, windows, subsampled) -> MatchResult:
        result, first, second = MatchResult(), windows.producer(), subsampled.producer()
        if len(windows.uses()) > 1:
            return result.fail("another node uses the first pool")
        if tuple(first.attributes.get_ints("strides", (1, 1))) != (1, 1):
            return result.fail("the first pool has a stride")
        if tuple(second.attributes.get_ints("kernel_shape")) != (1, 1) or any(
            nodes.pads(second) or (1,)
        ):
            return result.fail("the second pool does more than subsample")
        for pool in (first, second):
            if pool.attributes.get_int("ceil_mode", 0):
                return result.fail("a pool rounds up")
            if set(pool.attributes.get_ints("dilations", (1,))) != {1}:
                return result.fail("a pool is dilated")
        if _symmetric_pads(first) is None:
            return result.fail("the first pool does not keep the size of the map")
        return result

    def rewrite(self, op, x, windows, subsampled):
        first, second = windows.producer(), subsampled.producer()
        return op.op(
            "MaxPool",
            x,
            kernel_shape=first.attributes.get_ints("kernel_shape"),
            strides=second.attributes.get_ints("strides", (1, 1)),
            pads=_symmetric_pads(first),
        )


def _symmetric_pads(pool: ir.Node) -> tuple[int, ...] | None:
    """The padding of a pool with stride 1 that keeps the size; None if it does not."""
    kernel = pool.attributes.get_ints("kernel_shape", ())
    half = tuple(extent // 2 for extent in kernel) * 2
    is_odd = all(extent % 2 for extent in kernel)
    return half if is_odd and nodes.pads(pool) == half else None


class SameAveragePoolToCeilMode(RewriteRuleClassBase):
    """An average pool with SAME padding becomes one that rounds its size up."""

    def pattern(self, op, x):
        return op.AveragePool(x, auto_pad="SAME_UPPER", _outputs=["pooled"])

    def check(self, context, x, pooled) -> MatchResult:
        attributes = pooled.producer().attributes
        kernel = tuple(attributes.get_ints("kernel_shape", ()))
        counts = attributes.get_int("count_include_pad", 0)
        is_tiling = kernel == (2, 2) == tuple(attributes.get_ints("strides", (1, 1)))
        return match_if(is_tiling and not counts, "its windows overlap, or padding counts")

    def rewrite(self, op, x, pooled):
        shape = pooled.producer().attributes.get_ints("kernel_shape")
        return op.AveragePool(
            x, kernel_shape=shape, strides=shape, ceil_mode=1, count_include_pad=0
        )


class TransposeRoundTrip(RewriteRuleClassBase):
    """Transposes to NHWC and back are removed, even if the NHWC map is an output of a backbone."""

    def __init__(self) -> None:
        # The first one may be an output; by default the rule applies only if nothing else uses it.
        super().__init__("TransposeRoundTrip", remove_nodes=False)

    def pattern(self, op, x):
        return op.Transpose(op.Transpose(x, perm=list(nodes.TO_NHWC)), perm=list(nodes.TO_NCHW))

    def rewrite(self, op, x):
        return op.Identity(x)


class MeanWithoutTranspose(RewriteRuleClassBase):
    """A mean over height and width of a map in NHWC becomes one of the map in NCHW."""

    def pattern(self, op, x):
        transposed = op.Transpose(x, perm=list(nodes.TO_NHWC))
        return op.ReduceMean(transposed, **_ANY, _outputs=["mean"])

    def check(self, context, x, mean) -> MatchResult:
        node = mean.producer()
        drops_axes = nodes.axes_of(node) == (1, 2) and not node.attributes.get_int("keepdims", 1)
        return match_if(drops_axes, "it is not a mean over height and width that drops them")

    def rewrite(self, op, x, mean):
        return _mean_of_map(op, x)


class FuseReshapeIntoMean(RewriteRuleClassBase):
    """A mean that keeps its axes, then a reshape to (N, C), becomes a mean that drops them."""

    def pattern(self, op, x):
        mean = op.ReduceMean(x, **_ANY, _outputs=["mean"])
        return op.Reshape(mean, **_ANY, _outputs=["flat"])

    def check(self, context, x, mean, flat) -> MatchResult:
        result, node = MatchResult(), mean.producer()
        if nodes.axes_of(node) != (2, 3) or not node.attributes.get_int("keepdims", 1):
            return result.fail("it is not a mean over height and width that keeps them")
        channels = None if mean.shape is None else mean.shape[1]
        if not isinstance(channels, int) or not nodes.flattens(flat.producer(), channels):
            return result.fail("it does more than drop two axes of extent 1")
        return result

    def rewrite(self, op, x, mean, flat):
        return _mean_of_map(op, x)


def _mean_of_map(op, x):
    """The mean over height and width of an NCHW map, (N, C)."""
    return op.ReduceMean(x, op.Constant(value=ir.tensor(np.array([2, 3]))), keepdims=0)


class ConvHeadToGemm(OperatorRule):
    """A 1x1 convolution of a map of one pixel, as in timm's heads, becomes a dense layer.

    The operator flattens its result.
    """

    def pattern(self, op, x):
        head = op.Conv(x, **_ANY, _outputs=["head"])
        return getattr(op, self.operator)(head, **_ANY, _outputs=["flat"])

    def check(self, context, x, head, flat) -> MatchResult:
        result, before = MatchResult(), x.producer()
        kernel = nodes.constant(head.producer(), 1)
        if before is None or before.op_type not in ("ReduceMean", "GlobalAveragePool"):
            return result.fail("it does not follow a global average")
        if kernel is None or kernel.shape[2:] != (1, 1) or any(nodes.pads(head.producer()) or (1,)):
            return result.fail("it is not a 1x1 convolution without padding")
        attributes = head.producer().attributes
        if attributes.get_int("group", 1) != 1 or set(attributes.get_ints("strides", (1,))) != {1}:
            return result.fail("it has groups or a stride")
        if not nodes.flattens(flat.producer(), kernel.shape[0]):
            return result.fail("it does more than drop two axes of extent 1")
        if before.op_type == "ReduceMean" and not before.attributes.get_int("keepdims", 1):
            return result.fail("the global average drops its axes")
        return result

    def rewrite(self, op, x, head, flat):
        node = head.producer()
        kernel = nodes.constant(node, 1)
        assert kernel is not None  # `check` saw it
        weight = op.initializer(ir.tensor(kernel[:, :, 0, 0]), name=f"{node.inputs[1].name}.dense")
        mean = _mean_of_map(op, x.producer().inputs[0])
        return op.Gemm(mean, weight, *node.inputs[2:], transB=1)


class MulAddToBatchNorm(RewriteRuleClassBase):
    """A factor, then a term per channel become a norm with mean 0 and variance 1 - eps.

    Keras' exporter writes every norm that it cannot fold as these two.
    """

    def pattern(self, op, x, factor, term):
        return op.Add(op.Mul(x, factor), term)

    def check(self, context, x, factor, term) -> MatchResult:
        are_both = _is_per_channel(x, factor) and _is_per_channel(x, term)
        return match_if(are_both, "they are not two constants per channel")

    def rewrite(self, op, x, factor, term):
        scale, bias = (value.const_value.numpy().ravel() for value in (factor, term))
        return _plain_norm(op, x, factor.name, scale, bias)


class ToBatchNorm(OperatorRule):
    """A factor (Mul) or a term (Add) per channel becomes a norm.

    Keras' exporter omits a term of zeros and a factor of ones.
    """

    def pattern(self, op, x, number):
        return getattr(op, self.operator)(x, number)

    def check(self, context, x, number) -> MatchResult:
        return match_if(_is_per_channel(x, number), "it is not a constant per channel")

    def rewrite(self, op, x, number):
        own = number.const_value.numpy().ravel()
        pair = (own, np.zeros_like(own)) if self.operator == "Mul" else (np.ones_like(own), own)
        return _plain_norm(op, x, number.name, *pair)


class MatMulToGemm(RewriteRuleClassBase):
    """A matrix product becomes a dense layer; Keras' exporter omits a bias of zeros."""

    def pattern(self, op, x, kernel):
        return op.MatMul(x, kernel)

    def check(self, context, x, kernel) -> MatchResult:
        result, array = MatchResult(), kernel.const_value
        if array is None or len(array.numpy().shape) != 2 or kernel.is_graph_input():
            return result.fail("its kernel is not a constant matrix")
        if x.shape is None or x.shape.rank() != 2:
            return result.fail("its input is not a matrix")
        return result

    def rewrite(self, op, x, kernel):
        return op.Gemm(x, kernel)


def _is_per_channel(x: ir.Value, number: ir.Value) -> bool:
    """Whether a value is a constant with one number per channel of the map."""
    if number.const_value is None or number.is_graph_input() or x.shape is None:
        return False
    shape = number.const_value.numpy().shape
    if len(shape) not in (3, 4) or shape[-2:] != (1, 1) or shape[:-3] not in ((), (1,)):
        return False
    return x.shape.rank() == 4 and x.shape[1] == shape[-3]


def _plain_norm(op, x, name: str, scale: np.ndarray, bias: np.ndarray):
    """A norm with that gamma and beta, mean 0 and variance 1 - eps."""
    eps = np.float32(1e-5)
    arrays = {"scale": scale, "bias": bias, "mean": np.zeros_like(scale)}
    arrays["variance"] = np.full_like(scale, 1 - eps)
    tensors = [
        op.initializer(ir.tensor(array), name=f"{name}.{x.name}.{what}")
        for what, array in arrays.items()
    ]
    return op.BatchNormalization(x, *tensors, epsilon=float(eps))


class RemoveReshapeToSameShape(RewriteRuleClassBase):
    """A reshape to the same shape is removed."""

    def pattern(self, op, x, shape):
        return op.Reshape(x, shape, _allow_other_attributes=True, _outputs=["reshaped"])

    def check(self, context, x, shape, reshaped) -> MatchResult:
        result, wanted = MatchResult(), nodes.constant(reshaped.producer(), 1)
        if wanted is None or x.shape is None or len(wanted) != x.shape.rank():
            return result.fail("a shape is not known, or the ranks differ")
        extents = zip(wanted.tolist(), x.shape, strict=True)
        guessed = [extent == -1 for extent in wanted.tolist()]
        if sum(guessed) > 1 or not all(w in (0, -1) or w == e for w, e in extents):
            return result.fail("it is another shape")
        return result

    def rewrite(self, op, x, shape, reshaped):
        return op.Identity(x)


class OneChannelReshapeToTranspose(RewriteRuleClassBase):
    """A reshape of one-channel images from NHWC to NCHW becomes a transpose."""

    def pattern(self, op, x, before, shape):
        wider = op.Unsqueeze(x, before, _outputs=["wider"])
        return op.Reshape(wider, shape, _allow_other_attributes=True, _outputs=["transposed"])

    def check(self, context, x, before, shape, wider, transposed) -> MatchResult:
        if x.shape is None or x.shape.rank() != 4 or x.shape[3] != 1:
            return MatchResult().fail("it is not an NHWC image of one channel")
        axes, wanted = nodes.constant(wider.producer(), 1), nodes.constant(transposed.producer(), 1)
        pair = [None if array is None else array.tolist() for array in (axes, wanted)]
        return match_if(pair == [[0], [-1, 1, 0, 0]], "it is another reshape")

    def rewrite(self, op, x, before, shape, wider, transposed):
        return op.Transpose(x, perm=[0, 3, 1, 2])


RULES = (
    OneChannelReshapeToTranspose.rule(),
    MulAddToBatchNorm.rule(),
    RemoveReshapeToSameShape.rule(),
    common.fuse_pad_into_conv_rule,
    common.normalize_pad_format_conv_rule,
    common.no_op_transpose_rule,
    common.transpose_transpose_rule,
    TransposeRoundTrip.rule(),
    common.matmul_add_to_gemm_rule,
    FuseZeroPadIntoMaxPool.rule(),
    FuseSubsamplingIntoMaxPool.rule(),
    SameAveragePoolToCeilMode.rule(),
    MeanWithoutTranspose.rule(),
    ConvHeadToGemm.rule("Reshape"),
    ConvHeadToGemm.rule("Flatten"),
    FuseReshapeIntoMean.rule(),
)

LEFTOVER_RULES = (ToBatchNorm.rule("Mul"), ToBatchNorm.rule("Add"), MatMulToGemm.rule())
"""Applied after the others, to norms and dense layers that exporters wrote in part."""
