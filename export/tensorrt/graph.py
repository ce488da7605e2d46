"""An entry's graph as TensorRT takes it; what ONNX Runtime serves stays as it is.

uint8     TensorRT converts bytes to floating point before anything else touches them, and back at the very end. So
          image ─▶ Transpose ─▶ Cast becomes image ─▶ Cast ─▶ Transpose, and ArgMax ─▶ Cast(uint8) goes by way of FP32.
INT8      the published graph has unsigned activations with a zero point, as CPUs like them; TensorRT takes signed ones
          whose zero point is 0. So the graph is quantised again from the same ranges: S8, symmetric, QuantizeLinear
          and DequantizeLinear around weights as well, biases left in FP32, the picture centred and quantised inside.
"""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper

from export.errors import GraphError
from export.in_order import in_order
from export.quantisation.float_graph import float_graph
from export.quantisation.identity import fitting_ranges
from export.quantisation.quantise import quantise
from service.entry_config import read_onnx_entry
from service.entry_files import onnx_path
from service.errors import InvalidEntry
from service.manifest import INPUT_NAME, ModelCard


def for_tensorrt(card: ModelCard, repository: Path, file: Path) -> None:
    """Writes the graph. Raises GraphError, or NoRanges for an INT8 entry whose ranges do not ship."""
    if card.precision == "int8":
        _requantise(card, repository, file)
        model = onnx.load(file)
    else:
        model = onnx.load(onnx_path(repository / card.name))
    cast_first(model)
    cast_last(model)
    try:
        onnx.save(in_order(model), file)
    except ValueError as err:  # protobuf ends at 2 GB
        raise GraphError(f"{card.name} is too large for one ONNX file, which is what TensorRT is given.") from err


def _requantise(card: ModelCard, repository: Path, file: Path) -> None:
    entry = repository / card.variant_of
    try:
        fp32 = read_onnx_entry(entry)
    except InvalidEntry as err:
        raise GraphError(f"{card.name} is quantised again from {card.variant_of}, which is not there.") from err
    quantise(float_graph(onnx_path(entry)), fitting_ranges(fp32), file, for_tensorrt=True)


def cast_first(model: onnx.ModelProto) -> None:
    """image ─▶ Cast ─▶ Transpose ─▶ …, whichever way round the two were."""
    graph = model.graph
    readers = [node for node in graph.node if INPUT_NAME in node.input]
    if len(readers) != 1 or readers[0].op_type != "Transpose":
        return
    transpose = readers[0]
    casts = [node for node in graph.node if transpose.output[0] in node.input]
    if len(casts) != 1 or casts[0].op_type != "Cast":
        raise GraphError("the picture's bytes are used by more than one layer, which TensorRT cannot take.")
    cast, between, end = casts[0], transpose.output[0], casts[0].output[0]
    cast.input[0], cast.output[0] = INPUT_NAME, between
    transpose.input[0], transpose.output[0] = between, end
    # What was inferred for the tensor between them is of bytes.
    for value in [value for value in graph.value_info if value.name == between]:
        graph.value_info.remove(value)


def cast_last(model: onnx.ModelProto) -> None:
    """… ─▶ Cast(float) ─▶ Cast(uint8) ─▶ output, for every uint8 output made of whole numbers."""
    graph = model.graph
    bytes_out = {value.name for value in graph.output if value.type.tensor_type.elem_type == TensorProto.UINT8}
    for node in list(graph.node):
        if node.op_type == "Cast" and node.output[0] in bytes_out:
            as_float = f"{node.output[0]}_as_float"
            to_float = helper.make_node("Cast", [node.input[0]], [as_float], name=as_float, to=TensorProto.FLOAT)
            graph.node.insert(list(graph.node).index(node), to_float)
            node.input[0] = as_float
