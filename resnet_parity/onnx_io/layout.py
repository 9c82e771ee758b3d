"""Remove the transposes that Keras' torch backend puts around every convolution.

ONNX Runtime's optimizer removes most of them, and leaves some after the last branches. The rules
here move those towards the end, where the optimizer removes them in a second run.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnx import ModelProto
from onnx_ir.passes import common as passes
from onnxscript import ir
from onnxscript.rewriter.pattern import MatchResult, RewriteRuleClassBase, RewriteRuleSet

from resnet_parity.onnx_io.nodes import TO_NCHW, TO_NHWC, constant, transposes, zeros_of
from resnet_parity.onnx_io.rewrite import prepare
from resnet_parity.onnx_io.rewrite_rules import OperatorRule, match_if


class UnaryBeforeTranspose(OperatorRule):
    """An elementwise function of a transposed map is computed before the transpose."""

    def pattern(self, op, x):
        transposed = op.Transpose(x, _allow_other_attributes=True, _outputs=["transposed"])
        return getattr(op, self.operator)(transposed)

    def check(self, context, x, transposed) -> MatchResult:
        return match_if(transposes(transposed.producer(), TO_NHWC), "it is another transpose")

    def rewrite(self, op, x, transposed):
        return op.Transpose(getattr(op, self.operator)(x), perm=list(TO_NHWC))


class BinaryBeforeTranspose(OperatorRule):
    """The sum or product of two transposed maps is computed before the transposes."""

    def pattern(self, op, x, y):
        first = op.Transpose(x, _allow_other_attributes=True, _outputs=["first"])
        second = op.Transpose(y, _allow_other_attributes=True, _outputs=["second"])
        return getattr(op, self.operator)(first, second)

    def check(self, context, x, y, first, second) -> MatchResult:
        are_both = transposes(first.producer(), TO_NHWC) and transposes(second.producer(), TO_NHWC)
        return match_if(are_both, "they are other transposes")

    def rewrite(self, op, x, y, first, second):
        return op.Transpose(getattr(op, self.operator)(x, y), perm=list(TO_NHWC))


class ChannelConstantBeforeTranspose(OperatorRule):
    """A constant per channel is added, subtracted or multiplied before the transpose."""

    def pattern(self, op, x, number):
        transposed = op.Transpose(x, _allow_other_attributes=True, _outputs=["transposed"])
        return getattr(op, self.operator)(transposed, number, _outputs=["result"])

    def check(self, context, x, number, transposed, result) -> MatchResult:
        array = constant(result.producer(), 1)
        if array is None or not transposes(transposed.producer(), TO_NHWC):
            return MatchResult().fail("it is not a constant, or another transpose")
        is_per_channel = array.shape[:-1] in ((), (1, 1, 1)) and array.size > 1
        return match_if(is_per_channel, "it is not one number per channel")

    def rewrite(self, op, x, number, transposed, result):
        array = constant(result.producer(), 1)
        assert array is not None  # `check` saw it
        tensor = ir.tensor(array.reshape(1, -1, 1, 1))
        moved = op.initializer(tensor, name=f"{result.name}.per_channel")
        return op.Transpose(getattr(op, self.operator)(x, moved), perm=list(TO_NHWC))


class PadAfterTranspose(RewriteRuleClassBase):
    """Zeros around an NHWC map are added after its transpose to NCHW."""

    def pattern(self, op, x):
        padded = op.Pad(x, _allow_other_inputs=True, _allow_other_attributes=True, _outputs=["pad"])
        return op.Transpose(padded, _allow_other_attributes=True, _outputs=["transposed"])

    def check(self, context, x, pad, transposed) -> MatchResult:
        is_nchw, zeros = transposes(transposed.producer(), TO_NCHW), zeros_of(pad.producer())
        reason = "it pads with other values, or is another transpose"
        return match_if(is_nchw and zeros is not None, reason)

    def rewrite(self, op, x, pad, transposed):
        zeros = zeros_of(pad.producer()) or ()
        moved = [zeros[axis] for axis in TO_NCHW] + [zeros[axis + 4] for axis in TO_NCHW]
        amounts = op.initializer(ir.tensor(np.array(moved)), name=f"{transposed.name}.pads")
        return op.Pad(op.Transpose(x, perm=list(TO_NCHW)), amounts)


class SubMulAddToMulAdd(RewriteRuleClassBase):
    """(x - mean) * factor + term per channel becomes x * factor + term."""

    def pattern(self, op, x, mean, factor, term):
        return op.Add(op.Mul(op.Sub(x, mean), factor), term)

    def check(self, context, x, mean, factor, term) -> MatchResult:
        arrays = [value.const_value for value in (mean, factor, term)]
        if any(array is None for array in arrays):
            return MatchResult().fail("they are not constants")
        shape, *others = {array.numpy().shape for array in arrays}
        is_per_channel = not others and len(shape) == 4 and shape[2:] == (1, 1)
        return match_if(is_per_channel, "they are not numbers per channel")

    def rewrite(self, op, x, mean, factor, term):
        centre, scale, shift = (each.const_value.numpy() for each in (mean, factor, term))
        combined = (shift.astype("float64") - centre.astype("float64") * scale).astype("float32")
        moved = op.initializer(ir.tensor(combined), name=f"{term.name}.centred")
        return op.Add(op.Mul(x, factor), moved)


_RULES = (
    SubMulAddToMulAdd.rule(),
    UnaryBeforeTranspose.rule("Relu"),
    UnaryBeforeTranspose.rule("Sigmoid"),
    BinaryBeforeTranspose.rule("Add"),
    BinaryBeforeTranspose.rule("Mul"),
    ChannelConstantBeforeTranspose.rule("Add"),
    ChannelConstantBeforeTranspose.rule("Sub"),
    ChannelConstantBeforeTranspose.rule("Mul"),
    PadAfterTranspose.rule(),
)


def remove_transposes(proto: ModelProto) -> ModelProto:
    """Return the same function in NCHW, with transposes at the image and the outputs alone."""
    proto = _optimized(proto)
    for _ in range(2):
        model = ir.from_proto(proto)
        prepare(model)
        for _ in model.graph:  # at most one rewrite per node
            if not RewriteRuleSet(_RULES).apply_to_model(model):
                break
        passes.RemoveUnusedNodesPass()(model)
        proto = _optimized(ir.to_proto(model))
    return proto


def _optimized(proto: ModelProto) -> ModelProto:
    """Run ONNX Runtime's basic optimizer, which keeps ONNX's own operators on every CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3  # errors only
    with TemporaryDirectory() as folder:
        path = Path(folder, "optimized.onnx")
        options.optimized_model_filepath = str(path)
        content = proto.SerializeToString()
        onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        return onnx.load(path)
