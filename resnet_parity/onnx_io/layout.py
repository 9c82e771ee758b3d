"""A graph without the transpositions that Keras' torch backend puts around every convolution.

ONNX Runtime's optimiser takes out most of them, and leaves some behind the last branches. The rules
here move those towards the end, where they vanish, and the optimiser goes over it again.
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


class UnaryBeforeTranspose(RewriteRuleClassBase):
    """A function of every number of a transposed map."""

    def __init__(self, operator: str) -> None:
        super().__init__(f"UnaryBeforeTranspose{operator}")
        self.operator = operator

    def pattern(self, op, x):
        turned = op.Transpose(x, _allow_other_attributes=True, _outputs=["turned"])
        return getattr(op, self.operator)(turned)

    def check(self, context, x, turned) -> MatchResult:
        result, turns = MatchResult(), transposes(turned.producer(), TO_NHWC)
        return result if turns else result.fail("it is another transposition")

    def rewrite(self, op, x, turned):
        return op.Transpose(getattr(op, self.operator)(x), perm=list(TO_NHWC))


class BinaryBeforeTranspose(RewriteRuleClassBase):
    """The sum or product of two transposed maps."""

    def __init__(self, operator: str) -> None:
        super().__init__(f"BinaryBeforeTranspose{operator}")
        self.operator = operator

    def pattern(self, op, x, y):
        first = op.Transpose(x, _allow_other_attributes=True, _outputs=["first"])
        second = op.Transpose(y, _allow_other_attributes=True, _outputs=["second"])
        return getattr(op, self.operator)(first, second)

    def check(self, context, x, y, first, second) -> MatchResult:
        result = MatchResult()
        are_both = transposes(first.producer(), TO_NHWC) and transposes(second.producer(), TO_NHWC)
        return result if are_both else result.fail("they are other transpositions")

    def rewrite(self, op, x, y, first, second):
        return op.Transpose(getattr(op, self.operator)(x, y), perm=list(TO_NHWC))


class AffineBeforeTranspose(RewriteRuleClassBase):
    """A number per channel added to a transposed map, taken from it, or multiplied with it."""

    def __init__(self, operator: str) -> None:
        super().__init__(f"AffineBeforeTranspose{operator}")
        self.operator = operator

    def pattern(self, op, x, number):
        turned = op.Transpose(x, _allow_other_attributes=True, _outputs=["turned"])
        return getattr(op, self.operator)(turned, number, _outputs=["result"])

    def check(self, context, x, number, turned, result) -> MatchResult:
        answer = MatchResult()
        array = constant(result.producer(), 1)
        if not transposes(turned.producer(), TO_NHWC) or array is None or array.ndim not in (1, 4):
            return answer.fail("it is no constant, or another transposition")
        is_per_channel = array.shape[:-1] in ((), (1, 1, 1)) and array.size > 1
        return answer if is_per_channel else answer.fail("it is not one number per channel")

    def rewrite(self, op, x, number, turned, result):
        array = constant(result.producer(), 1)
        assert array is not None  # the check has seen it
        tensor = ir.tensor(array.reshape(1, -1, 1, 1))
        moved = op.initializer(tensor, name=f"{result.name}.per_channel")
        return op.Transpose(getattr(op, self.operator)(x, moved), perm=list(TO_NHWC))


class PadAfterTranspose(RewriteRuleClassBase):
    """Zeros around an NHWC map that is then turned to NCHW."""

    def pattern(self, op, x):
        padded = op.Pad(x, _allow_other_inputs=True, _allow_other_attributes=True, _outputs=["pad"])
        return op.Transpose(padded, _allow_other_attributes=True, _outputs=["turned"])

    def check(self, context, x, pad, turned) -> MatchResult:
        result = MatchResult()
        if zeros_of(pad.producer()) is None or not transposes(turned.producer(), TO_NCHW):
            return result.fail("these are no zeros, or another transposition")
        return result

    def rewrite(self, op, x, pad, turned):
        zeros = zeros_of(pad.producer()) or ()
        moved = [zeros[axis] for axis in TO_NCHW] + [zeros[axis + 4] for axis in TO_NCHW]
        amounts = op.initializer(ir.tensor(np.array(moved)), name=f"{turned.name}.pads")
        return op.Pad(op.Transpose(x, perm=list(TO_NCHW)), amounts)


class CentredIsNorm(RewriteRuleClassBase):
    """A mean per channel taken away, then a factor, then a term: a norm."""

    def pattern(self, op, x, mean, factor, term):
        return op.Add(op.Mul(op.Sub(x, mean), factor), term)

    def check(self, context, x, mean, factor, term) -> MatchResult:
        result = MatchResult()
        arrays = [value.const_value for value in (mean, factor, term)]
        if any(array is None for array in arrays):
            return result.fail("these are no constants")
        shapes = {array.numpy().shape for array in arrays if array is not None}
        if len(shapes) != 1 or (shape := shapes.pop())[2:] != (1, 1) or len(shape) != 4:
            return result.fail("these are no numbers per channel")
        return result

    def rewrite(self, op, x, mean, factor, term):
        centre, scale, shift = (each.const_value.numpy() for each in (mean, factor, term))
        combined = (shift.astype("float64") - centre.astype("float64") * scale).astype("float32")
        moved = op.initializer(ir.tensor(combined), name=f"{term.name}.centred")
        return op.Add(op.Mul(x, factor), moved)


_RULES = (
    CentredIsNorm.rule(),
    UnaryBeforeTranspose.rule("Relu"),
    UnaryBeforeTranspose.rule("Sigmoid"),
    BinaryBeforeTranspose.rule("Add"),
    BinaryBeforeTranspose.rule("Mul"),
    AffineBeforeTranspose.rule("Add"),
    AffineBeforeTranspose.rule("Sub"),
    AffineBeforeTranspose.rule("Mul"),
    PadAfterTranspose.rule(),
)


def without_transpositions(proto: ModelProto) -> ModelProto:
    """The same function in NCHW throughout, but for what turns the image and what comes out."""
    proto = _optimised(proto)
    for _ in range(2):
        model = ir.from_proto(proto)
        prepare(model)
        for _ in model.graph:  # at most one step per node
            if not RewriteRuleSet(_RULES).apply_to_model(model):
                break
        passes.RemoveUnusedNodesPass()(model)
        proto = _optimised(ir.to_proto(model))
    return proto


def _optimised(proto: ModelProto) -> ModelProto:
    """What ONNX Runtime makes of a graph before it looks at the processor: ONNX's own operators."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3  # errors, and no warnings
    with TemporaryDirectory() as folder:
        path = Path(folder, "optimised.onnx")
        options.optimized_model_filepath = str(path)
        content = proto.SerializeToString()
        onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        return onnx.load(path)
