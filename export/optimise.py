"""ONNX graph → the same function with fewer nodes: BatchNorm inside the convolutions, constants computed, no copies."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import PassManager
from onnx_ir.passes import common as passes
from onnxscript import optimizer, rewriter
from onnxscript.rewriter.rules.common import _fuse_batchnorm, _fuse_pad_into_conv

from export.errors import GraphError

# What BatchNorm can be folded into, if it is the only reader of the result.
FOLDABLE_INTO = ("Conv", "ConvTranspose", "Gemm")


def optimise(model: ir.Model, *, traced: bool = False) -> ir.Model:
    """The optimised model. Raises GraphError if a BatchNorm is left that could have been folded.

    traced  by torch's older exporter, which writes the same small computation a thousand times: first all but one of
            each is thrown away, for the rest of the work takes minutes otherwise
    """
    if traced:
        passes.CommonSubexpressionEliminationPass()(model)
    optimizer.optimize(model, num_iterations=1 if traced else 2)
    _unshare_weights(model)
    rewriter.rewrite(model, pattern_rewrite_rules=_fuse_batchnorm.rules)
    rewriter.rewrite(model, pattern_rewrite_rules=_fuse_pad_into_conv.rules)
    PassManager(
        [
            passes.DeduplicateInitializersPass(),
            passes.CommonSubexpressionEliminationPass(),
            passes.RemoveUnusedNodesPass(),
            passes.RemoveUnusedFunctionsPass(),  # type: ignore[no-untyped-call]
            passes.RemoveUnusedOpsetsPass(),
            # The exporter notes the source line of every node, with paths of the machine it ran on.
            passes.ClearMetadataAndDocStringPass(),
        ]
    )(model)
    left = foldable_batch_norms(model)
    if left:
        raise GraphError(f"BatchNorm was not folded: {', '.join(left)}.")
    return model


def foldable_batch_norms(model: ir.Model) -> list[str]:
    """Names of the BatchNormalization nodes that could still be folded into the layer before them."""
    return [node.name or "unnamed" for node in model.graph if _is_foldable(node)]


def _unshare_weights(model: ir.Model) -> None:
    """Where one convolution serves several BatchNorms, as in a tower over a pyramid's levels, each gets its own."""
    graph = model.graph
    for node in [node for node in graph if _is_foldable(node)]:
        source = node.inputs[0]
        before = source.producer() if source is not None else None
        for index, value in enumerate(before.inputs if before is not None else ()):
            if before is None or value is None or not value.is_initializer() or len(value.uses()) == 1:
                continue
            own = ir.Value(name=f"{value.name}_for_{node.name}", type=value.type, shape=value.shape)
            own.const_value = value.const_value
            graph.register_initializer(own)
            before.replace_input_with(index, own)


def _is_foldable(node: ir.Node) -> bool:
    if node.op_type != "BatchNormalization" or node.attributes.get_int("training_mode", False):
        return False
    source = node.inputs[0]
    before = source.producer() if source is not None else None
    return source is not None and before is not None and before.op_type in FOLDABLE_INTO and len(source.uses()) == 1
