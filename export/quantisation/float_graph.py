"""An entry's FP32 graph, made ready for quantisation: same function, stable names, only operators that fuse."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from export.quantisation.absorb_normalisation import CENTRED, absorb_normalisation

_IMAGE_AXES = ((2, 3), (-2, -1))


@dataclass(frozen=True, slots=True)
class FloatGraph:
    """The graph, the grey that stands for zero in its input, and a digest of its structure (not of its numbers)."""

    model: onnx.ModelProto
    centre: int
    structure: str


def float_graph(fp32: Path) -> FloatGraph:
    """The FP32 graph of the file, ready to be calibrated and quantised. Raises GraphError if it begins otherwise."""
    model = onnx.load(fp32)
    centre = absorb_normalisation(model)
    _pool_globally(model)
    drop_unused_tensors(model)
    _name_by_position(model)
    return FloatGraph(onnx.shape_inference.infer_shapes(model), centre, _structure(model))


def _pool_globally(model: onnx.ModelProto) -> None:
    """Means over height and width as GlobalAveragePool, for which ONNX Runtime has an integer kernel."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for index, node in enumerate(model.graph.node):
        if node.op_type != "ReduceMean" or len(node.input) != 2 or node.input[1] not in tensors:
            continue
        keeps_axes = all(attribute.i for attribute in node.attribute if attribute.name == "keepdims")
        axes = tuple(int(axis) for axis in np.sort(numpy_helper.to_array(tensors[node.input[1]])))
        if keeps_axes and axes in _IMAGE_AXES:
            pool = onnx.helper.make_node("GlobalAveragePool", node.input[:1], node.output, name=node.name)
            model.graph.node.remove(node)
            model.graph.node.insert(index, pool)


def drop_unused_tensors(model: onnx.ModelProto) -> None:
    """Removes the constants that no node reads any more."""
    used = {name for node in model.graph.node for name in node.input}
    for tensor in [tensor for tensor in model.graph.initializer if tensor.name not in used]:
        model.graph.initializer.remove(tensor)


def _name_by_position(model: onnx.ModelProto) -> None:
    """Names every inner tensor after its operator and that operator's turn: `Conv_12`.

    torch's own names carry counters that change from one version to the next; the order of the operators does not.
    """
    kept = {value.name for value in (*model.graph.input, *model.graph.output)} | {CENTRED}
    turns: Counter[str] = Counter()
    names: dict[str, str] = {}
    for node in model.graph.node:
        node.name = f"{node.op_type}_{turns[node.op_type]}"
        for place, output in enumerate(node.output):
            position = f"{node.name}_{place}" if place else node.name
            names[output] = output if output in kept or not output else position
        turns[node.op_type] += 1
    for node in model.graph.node:
        for names_of in (node.input, node.output):
            names_of[:] = [names.get(name, name) for name in names_of]
    del model.graph.value_info[:]  # under the old names; inferred anew


def _structure(model: onnx.ModelProto) -> str:
    shapes = {tensor.name: str(tuple(tensor.dims)) for tensor in model.graph.initializer}
    lines = [
        f"{node.op_type} {[shapes.get(name, name) for name in node.input]} {list(node.output)} "
        f"{sorted(onnx.helper.printable_attribute(attribute) for attribute in node.attribute)}"
        for node in model.graph.node
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
