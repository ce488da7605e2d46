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
from service.manifest import INPUT_NAME

CENTRED = "image_centred"
_CENTRE = "image_centre"
_CHAIN = (("Transpose",), ("Cast",), ("Mul",), ("Add", "Sub"), ("Conv",))


def absorb_normalisation(model: onnx.ModelProto) -> int:
    """The centre, 0..255; the model now begins as above. Raises GraphError if it does not begin as it should.

    A graph that subtracts its shift is taken as well, and so is one that reads the picture's shape elsewhere.
    """
    graph = model.graph
    _, cast, scaling, shifting, conv = _chain(model)
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    scale, shift = (numpy_helper.to_array(tensors[node.input[1]]).astype(np.float64) for node in (scaling, shifting))
    if shifting.op_type == "Sub":
        shift = -shift
    centre = int(np.clip(np.rint(np.mean(-shift / scale)), 0, 255))

    weight, bias = (numpy_helper.to_array(tensors[name]).astype(np.float64) for name in conv.input[1:3])
    moved = bias + (weight * (centre * scale + shift)).sum(axis=(1, 2, 3))  # (O,)
    for name, array in ((conv.input[1], weight * scale), (conv.input[2], moved)):
        tensors[name].CopyFrom(numpy_helper.from_array(array.astype(np.float32), name))

    graph.initializer.append(numpy_helper.from_array(np.array(centre, dtype=np.float32), _CENTRE))
    place = list(graph.node).index(scaling)
    graph.node.remove(scaling)
    graph.node.remove(shifting)
    graph.node.insert(place, onnx.helper.make_node("Sub", [cast.output[0], _CENTRE], [CENTRED], name="centre"))
    conv.input[0] = CENTRED
    return centre


def _chain(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """From the picture to the first convolution: nothing else reads what is in between."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    found: list[onnx.NodeProto] = []
    tensor = INPUT_NAME
    for operators in _CHAIN:
        reading = [node for node in readers.get(tensor, []) if node.op_type != "Shape"]
        if len(reading) != 1 or reading[0].op_type not in operators or reading[0].input[0] != tensor:
            wanted = ", ".join("/".join(names) for names in _CHAIN)
            raise GraphError(f"the graph does not begin with {wanted}.")
        found += reading
        tensor = reading[0].output[0]
    return found


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
