"""Depthwise weights moved onto the INT8 grid so that every kernel keeps its sum.

A depthwise kernel looks at one channel, whose mean is the same under all its taps: what rounding adds to the kernel's
sum, it adds to the output's mean. Kernels that nearly cancel (edges) with a large gain behind them turn that into
a visible shift. Rounding a weight or two the other way keeps the sum within half a step and needs no data.
Source: the bias correction of arXiv:1906.04721, section 4.2, for the one case in which the mean drops out.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

LARGEST = 127


def keep_depthwise_sums(model: onnx.ModelProto) -> None:
    """Changes the weights of the model's depthwise convolutions in place; the others are left alone."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        weight = tensors.get(node.input[1]) if node.op_type == "Conv" else None
        if weight is not None and weight.dims[1] == 1 and weight.dims[0] > 1:
            kernels = numpy_helper.to_array(weight).reshape(weight.dims[0], -1)  # (C, taps)
            rounded = round_keeping_sums(kernels).reshape(tuple(weight.dims))
            weight.CopyFrom(numpy_helper.from_array(rounded, weight.name))


def round_keeping_sums(kernels: NDArray[np.float32]) -> NDArray[np.float32]:
    """(C, taps) multiples of each row's largest weight / 127, each less than a step away, sums within half a step."""
    step = np.abs(kernels).max(axis=1, keepdims=True).astype(np.float64) / LARGEST  # (C, 1)
    step[step == 0] = 1
    exact = kernels / step
    rounded = np.rint(exact)
    for row, wanted in zip(rounded, exact, strict=True):
        surplus = int(np.rint((row - wanted).sum()))
        # First those that were rounded furthest in the wrong direction. The largest weight sets the step: it stays.
        gain = (row - wanted) * np.sign(surplus)
        gain[np.abs(wanted).argmax()] = -np.inf
        row[np.argsort(-gain, kind="stable")[: abs(surplus)]] -= np.sign(surplus)
    on_grid: NDArray[np.float32] = (rounded * step).astype(np.float32)
    return on_grid
