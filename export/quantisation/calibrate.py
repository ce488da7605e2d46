"""FP32 graph + pictures → the range of every tensor."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, create_calibrator

from export.quantisation.float_graph import FloatGraph
from export.quantisation.scope import OPERATORS, tensors_in_scope
from service.manifest import INPUT_NAME

# ONNX Runtime keeps the outputs of a whole pass in memory: eight pictures of a classifier's size, two of 512×512.
PIXELS_A_RUN = 8 * 260 * 260


class _Pictures(CalibrationDataReader):  # type: ignore[misc]
    """Hands ONNX Runtime a few pictures at a time."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        a_run = max(1, PIXELS_A_RUN // (pixels.shape[1] * pixels.shape[2]))
        parts = np.array_split(pixels, -(-len(pixels) // a_run))
        self._feeds: Iterator[dict[str, Any]] = iter([{INPUT_NAME: part} for part in parts])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._feeds, None)


def calibrate(graph: FloatGraph, pixels: NDArray[np.uint8]) -> dict[str, tuple[float, float]]:
    """Tensor → (least, largest) value over the pictures (N, H, W, 3), for every input and output in scope.

    Plain extremes: the activations of these networks are bounded by ReLU6, and docs/quantisation.md has what
    percentiles did.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "float.onnx"
        onnx.save(graph.model, file)
        calibrator = create_calibrator(
            file,
            list(OPERATORS),
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=CalibrationMethod.MinMax,
        )
        calibrator.collect_data(_Pictures(pixels))
        found = calibrator.compute_data()
    wanted = tensors_in_scope(graph)
    return {
        # As many digits as the file keeps, so that what is judged now is what is made from the file later.
        name: (float(f"{np.min(tensor.range_value[0]):.7g}"), float(f"{np.max(tensor.range_value[1]):.7g}"))
        for name, tensor in found.items()
        if wanted is None or name in wanted
    }
