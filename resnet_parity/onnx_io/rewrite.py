"""Rewrite a graph to the operators that its architecture needs.

The graph computes the same afterwards, except for rounding where norms are folded; the checks
verify that for every file.
"""

from __future__ import annotations

from onnx_ir.passes import common as passes
from onnxscript import ir, optimizer
from onnxscript.rewriter import rewrite
from onnxscript.rewriter.rules import common

from resnet_parity.onnx_io.rewrite_rules import LEFTOVER_RULES, RULES


def fold_constants(model: ir.Model) -> None:
    """Compute what does not depend on the image, in a graph that an exporter has just written."""
    optimizer.fold_constants_ir(model, onnx_shape_inference=True)


def prepare(model: ir.Model, *, strict: bool = True) -> None:
    """Make constants initializers, as the rules expect, and infer shapes; nothing is run.

    Without `strict`, shapes may contradict each other.
    """
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    passes.ShapeInferencePass(check_type=strict, strict_mode=strict, data_prop=False)(model)


def rewrite_model(model: ir.Model, *, fold: bool, strict: bool = True) -> None:
    """Rewrite a model in place; with `fold`, norms are folded into convolutions."""
    # PyTorch's exporter gives every convolution a bias of zeros; removed before norms add theirs.
    rewrite(model, pattern_rewrite_rules=[common.remove_optional_bias_from_conv_rule])
    folding = (common.fuse_batchnorm_into_conv_rule,) if fold else ()
    for rules in (RULES, RULES, LEFTOVER_RULES, RULES):
        # Repeated, because a rule may apply only after another one, once shapes are inferred.
        rewrite(model, pattern_rewrite_rules=(*rules, *folding))
        prepare(model, strict=strict)
    passes.IdentityEliminationPass()(model)
    passes.RemoveUnusedNodesPass()(model)
