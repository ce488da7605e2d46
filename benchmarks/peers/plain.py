"""JPEG → top 5, with nothing but Pillow, NumPy and ONNX Runtime: what every contestant but ours runs.

The picture is prepared as the model's card demands, in the fewest steps that Pillow offers, so that the contestants
differ in how they serve and in nothing else. Needs none of this project's packages: it runs in `.venv-peers` too.
"""

from __future__ import annotations

import io
import os
from typing import Any

import numpy as np
import onnxruntime as ort
from PIL import Image

# EfficientNet-Lite0's card: shorter side, crop.
SHORTER_SIDE_PX = 256
CROP_PX = 224
TOP = 5


class Classifier:
    """One ONNX Runtime session of $BENCH_MODEL; threads 0: as many as ONNX Runtime takes by itself."""

    def __init__(self, threads: int) -> None:
        options = ort.SessionOptions()
        if threads:
            options.intra_op_num_threads = threads
            options.inter_op_num_threads = 1
        path = os.environ["BENCH_MODEL"]
        self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self.of_pixels(np.zeros((1, CROP_PX, CROP_PX, 3), np.uint8))

    def of_jpeg(self, data: bytes) -> list[dict[str, Any]]:
        """The five likeliest classes, surest first: class_id, score."""
        return self.of_image(Image.open(io.BytesIO(data)))

    def of_image(self, image: Image.Image) -> list[dict[str, Any]]:
        return self.of_pixels(_prepare(image)[np.newaxis])

    def of_pixels(self, pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> list[dict[str, Any]]:
        """`pixels` (1, 224, 224, 3)."""
        row = self._session.run(["probabilities"], {self._input: pixels})[0][0]  # (1000,)
        best = np.argpartition(row, -TOP)[-TOP:]
        return [{"class_id": int(i), "score": float(row[i])} for i in best[np.argsort(-row[best])]]


def _prepare(image: Image.Image) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """(224, 224, 3): shorter side to 256, centre cut out, in one pass."""
    width, height = image.size
    shrink = next((s for s in (8, 4, 2) if min(width, height) >= 2 * SHORTER_SIDE_PX * s), 1)
    if shrink > 1:
        image.draft("RGB", (width // shrink, height // shrink))
    rgb = image.convert("RGB")
    width, height = rgb.size
    if width <= height:
        resized = (SHORTER_SIDE_PX, int(SHORTER_SIDE_PX * height / width))
    else:
        resized = (int(SHORTER_SIDE_PX * width / height), SHORTER_SIDE_PX)
    left, top = (round((side - CROP_PX) / 2) for side in resized)
    step_x, step_y = width / resized[0], height / resized[1]
    box = (left * step_x, top * step_y, (left + CROP_PX) * step_x, (top + CROP_PX) * step_y)
    return np.asarray(rgb.resize((CROP_PX, CROP_PX), Image.Resampling.BICUBIC, box=box))
