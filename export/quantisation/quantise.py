"""FP32 graph + ranges → INT8 graph: static QDQ, weights per channel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from export.errors import GraphError
from export.quantisation.absorb_normalisation import CENTRED, drop_input_arithmetic
from export.quantisation.depthwise_rounding import keep_depthwise_sums
from export.quantisation.float_graph import FloatGraph, drop_unused_tensors
from export.quantisation.ranges import Ranges
from export.quantisation.scope import OPERATORS, operators_in_scope

# What export.tensorrt.graph asks for instead of the CPU's kind of graph.
_FOR_TENSORRT = {
    "ActivationSymmetric": True,
    "WeightSymmetric": True,
    "AddQDQPairToWeight": True,
    "QuantizeBias": False,
}


def quantise(graph: FloatGraph, ranges: Ranges, file: Path, *, for_tensorrt: bool = False) -> None:
    """Writes the INT8 graph to the file. Raises GraphError if the ranges are another graph's.

    Unsigned activations and signed weights, since x86's dot-product instruction multiplies just these: signed
    activations cost half as much again. The classifier's logits stay float32 on their way into the softmax.

    for_tensorrt    signed activations whose zero point is 0, the picture's arithmetic and all biases in float32
    """
    if ranges.structure != graph.structure:
        raise GraphError("the calibration ranges belong to another graph.")
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    keep_depthwise_sums(model)
    # One step is one grey level, and the zero point is `centre`, exactly.
    pixel_range = {CENTRED: (-127.0, 127.0) if for_tensorrt else (float(-graph.centre), float(255 - graph.centre))}
    # The class behind quantize_static, which itself will not work from stored ranges in every version.
    quantizer = QDQQuantizer(
        model,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QInt8 if for_tensorrt else QuantType.QUInt8,
        tensors_range=_tensors_data({**ranges.by_tensor, **pixel_range}),
        nodes_to_quantize=operators_in_scope(graph),
        nodes_to_exclude=[],
        op_types_to_quantize=list(OPERATORS),
        extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm"], **(_FOR_TENSORRT if for_tensorrt else {})},
    )
    try:
        quantizer.quantize_model()
    except ValueError as err:
        raise GraphError(f"ONNX Runtime could not quantise it: {err}") from err
    quantised = quantizer.model.model
    if not for_tensorrt:
        drop_input_arithmetic(quantised)
    drop_unused_tensors(quantised)  # the bounds of the clips that became part of a range
    onnx.save(quantised, file)


def _tensors_data(by_tensor: dict[str, tuple[float, float]]) -> TensorsData:
    as_float32 = {name: (np.float32(least), np.float32(largest)) for name, (least, largest) in by_tensor.items()}
    return TensorsData(CalibrationMethod.MinMax, as_float32)
