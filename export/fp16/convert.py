"""FP32 graph → the same graph in FP16, input uint8 and outputs FP32 as the contract wants them.

Half precision is written into the graph, node by node: TensorRT 11 has no other way to be told, TensorRT 10 and ONNX
Runtime take it as well. In FP32 stays what sums many numbers or divides by what it summed: normalisation of the input
and of layers, means, softmax.
"""

from __future__ import annotations

from pathlib import Path

import onnx
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

from export.errors import GraphError
from export.in_order import in_order
from service.manifest import INPUT_NAME

KEPT_IN_FP32 = (
    *("Softmax", "LogSoftmax", "ReduceMean", "ReduceSum", "ReduceL2", "GlobalAveragePool"),
    *("LayerNormalization", "InstanceNormalization", "GroupNormalization", "Reciprocal", "Pow", "Sqrt"),
)
_OF_THE_INPUT = ("Transpose", "Cast", "Mul", "Add", "Sub", "Div")


def convert(fp32: Path, fp16: Path) -> None:
    """Writes the FP16 graph of the FP32 file. Raises GraphError."""
    model = onnx.load(fp32)
    kept = _normalisation(model)
    blocked = [*DEFAULT_OP_BLOCK_LIST, *KEPT_IN_FP32]
    try:
        half = convert_float_to_float16(model, keep_io_types=True, op_block_list=blocked, node_block_list=kept)
        onnx.save(in_order(half), fp16)
    except (ValueError, RuntimeError, AttributeError) as err:
        raise GraphError(f"it could not be converted to FP16: {' '.join(str(err).split())[:200]}") from err


def _normalisation(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes between the picture's bytes and the first layer; nodes without a name get one."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for index, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{index}"
        for name in node.input:
            readers.setdefault(name, []).append(node)
    kept: list[str] = []
    tensor = INPUT_NAME
    while len(readers.get(tensor, [])) == 1 and readers[tensor][0].op_type in _OF_THE_INPUT:
        node = readers[tensor][0]
        kept.append(node.name)
        tensor = node.output[0]
    return kept
