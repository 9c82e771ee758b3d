"""What exporters leave over, removed.

Nothing of it changes what a graph computes, but for roundings where a norm is folded; the checks
proves that for every file.
"""

from __future__ import annotations

from onnx_ir.passes import common as passes
from onnxscript import ir, optimizer
from onnxscript.rewriter import rewrite
from onnxscript.rewriter.rules import common

from resnet_parity.onnx_io.rewrite_rules import LEFT_ALONE, RULES


def fold_constants(model: ir.Model) -> None:
    """Compute what does not depend on the image, for a graph that an exporter has just written."""
    optimizer.fold_constants_ir(model, onnx_shape_inference=True)


def prepare(model: ir.Model) -> None:
    """Constants where the rules look for them, shapes where they can be known; nothing is run."""
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    passes.ShapeInferencePass(data_prop=False)(model)


def clean(model: ir.Model, *, fold: bool) -> None:
    """Rewrite a model in place, into what its net needs and no more; norms are folded if wanted."""
    # PyTorch's exporter gives every convolution a bias; what a norm leaves behind comes later.
    rewrite(model, pattern_rewrite_rules=[common.remove_optional_bias_from_conv_rule])
    folding = (common.fuse_batchnorm_into_conv_rule,) if fold else ()
    for rules in (RULES, RULES, LEFT_ALONE, RULES):
        # What one rule leaves another may take up, once shapes are known again.
        rewrite(model, pattern_rewrite_rules=(*rules, *folding))
        prepare(model)
    passes.IdentityEliminationPass()(model)
    passes.RemoveUnusedNodesPass()(model)
