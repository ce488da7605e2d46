"""The first convolution reads the picture's own bytes: uint8 already is the quantised input.

Before: image ─▶ Transpose ─▶ Cast ─▶ × scale ─▶ + shift ─▶ Conv(W, b)
After:  image ─▶ Transpose ─▶ Cast ─▶ − centre ─▶ Conv(W · scale, b + Σ W · (centre · scale + shift))

A quantised tensor of scale 1 and zero point `centre` means exactly `byte − centre`, so that Cast, subtraction and the
quantisation after them are no operations at all, and `drop_input_arithmetic` takes them out. The two graphs are equal
but for one thing: a convolution pads with what stands for zero, which was the mean colour and is now the grey
`centre`: half a grey level away for EfficientNet-Lite (127 for 127.5), up to 11 for MobileNetV2, along two edges.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from export.errors import GraphError

CENTRED = "image_centred"
_CENTRE = "image_centre"
_CHAIN = ("Transpose", "Cast", "Mul", "Add", "Conv")


def absorb_normalisation(model: onnx.ModelProto) -> int:
    """The centre, 0..255; the model now begins as above. Raises GraphError if it does not begin as it should."""
    graph = model.graph
    chain = list(graph.node[: len(_CHAIN)])
    if tuple(node.op_type for node in chain) != _CHAIN:
        raise GraphError(f"the graph does not begin with {', '.join(_CHAIN)}.")
    _, cast, scaling, shifting, conv = chain
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    scale, shift = (numpy_helper.to_array(tensors[node.input[1]]).astype(np.float64) for node in (scaling, shifting))
    centre = int(np.clip(np.rint(np.mean(-shift / scale)), 0, 255))

    weight, bias = (numpy_helper.to_array(tensors[name]).astype(np.float64) for name in conv.input[1:3])
    moved = bias + (weight * (centre * scale + shift)).sum(axis=(1, 2, 3))  # (O,)
    for name, array in ((conv.input[1], weight * scale), (conv.input[2], moved)):
        tensors[name].CopyFrom(numpy_helper.from_array(array.astype(np.float32), name))

    graph.initializer.append(numpy_helper.from_array(np.array(centre, dtype=np.float32), _CENTRE))
    graph.node.remove(scaling)
    graph.node.remove(shifting)
    graph.node.insert(2, onnx.helper.make_node("Sub", [cast.output[0], _CENTRE], [CENTRED], name="centre"))
    conv.input[0] = CENTRED
    return centre


def drop_input_arithmetic(model: onnx.ModelProto) -> None:
    """Takes Cast, subtraction and quantisation of the input out of a quantised model: the bytes are what they make."""
    nodes = model.graph.node
    (quantise,) = (node for node in nodes if node.op_type == "QuantizeLinear" and node.input[0] == CENTRED)
    (subtract,) = (node for node in nodes if node.output[0] == CENTRED)
    (cast,) = (node for node in nodes if node.output[0] == subtract.input[0])
    for node in nodes:
        if node.input[0] == quantise.output[0]:
            node.input[0] = cast.input[0]
    for node in (quantise, subtract, cast):
        nodes.remove(node)
