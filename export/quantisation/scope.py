"""Which operators of a graph become integers.

A classifier's all do. Of a head's graph the backbone does, and the branch that makes masks:

    image ─▶ backbone ─┬─▶ neck, scores, sides ─▶ decoding ─▶ suppression ─▶ boxes      float32
     int8 ─────▶ int8  ├─▶ neck, pooled in the boxes, convolutions ─▶ masks             int8
                       └─▶ U-Net's way back up ─▶ class_map                             float32

The backbone is where the time goes. What boxes are computed with wants finer steps than 256: quantised as well, the
towers cost a point of AP, and decoding's sums would round coordinates to a 256th of the picture.
"""

from __future__ import annotations

import onnx

from export.errors import GraphError
from export.quantisation.float_graph import FloatGraph

# Those for which ONNX Runtime has integer kernels on a CPU that beat its float ones; the rest stays float32.
OPERATORS = ("Conv", "Add", "Clip", "Relu", "MaxPool", "GlobalAveragePool", "Gemm")
# The last convolution of EfficientNet-Lite0's stages: the map of stride 32. Everything before it is backbone.
_DEEPEST, _DEEPEST_CHANNELS = "Conv_47", 320


def operators_in_scope(graph: FloatGraph) -> list[str]:
    """Names of the nodes; empty: all that are in OPERATORS. Raises GraphError for a backbone it does not know."""
    model = graph.model
    outputs = {output.name for output in model.graph.output}
    if "probabilities" in outputs:
        return []
    makers = {name: node for node in model.graph.node for name in node.output}
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    deepest = next((node for node in model.graph.node if node.name == _DEEPEST), None)
    if deepest is None or deepest.op_type != "Conv" or weights[deepest.input[1]].dims[0] != _DEEPEST_CHANNELS:
        raise GraphError("only heads on EfficientNet-Lite0 can be quantised.")
    wanted = _before(deepest.output[0], makers)
    if "masks" in outputs:
        wanted |= _before("masks", makers) - _before("boxes", makers)
    return [node.name for node in model.graph.node if node.name in wanted and node.op_type in OPERATORS]


def tensors_in_scope(graph: FloatGraph) -> set[str] | None:
    """Names of the tensors that the nodes in scope read and write; None: all."""
    names = set(operators_in_scope(graph))
    if not names:
        return None
    return {name for node in graph.model.graph.node if node.name in names for name in (*node.input, *node.output)}


def _before(tensor: str, makers: dict[str, onnx.NodeProto]) -> set[str]:
    """Names of the nodes that the tensor is computed by."""
    found: set[str] = set()
    waiting = [tensor]
    while waiting:
        node = makers.get(waiting.pop())
        if node is not None and node.name not in found:
            found.add(node.name)
            waiting += node.input
    return found
