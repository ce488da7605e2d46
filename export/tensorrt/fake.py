"""A builder without a GPU, shipped for tests: its plans are the ONNX file in an envelope, run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from export.tensorrt.builder import Arrays, BatchRange, BuildRefused, Target
from service.manifest import INPUT_NAME

MAGIC = b"fake plan\n"


class FakeBuilder:
    """Refuses `refuses`; answers wrong by `error` of each number, to every run or to those of `wrong_batch` pictures.

    `built` are the files' batches, in order.
    """

    def __init__(self, tensorrt: str = "11.4.0", compute_capability: str = "9.0") -> None:
        self.target = Target(tensorrt, compute_capability, "Fake GPU")
        self.built: list[BatchRange] = []
        self.error = 0.0
        self.wrong_batch: int | None = None
        self.refuses = ""

    def build(self, onnx_file: Path, batches: BatchRange) -> bytes:
        if self.refuses:
            raise BuildRefused(f"TensorRT does not take the graph: {self.refuses}")
        self.built.append(batches)
        return MAGIC + onnx_file.read_bytes()

    @contextmanager
    def opened(self, plan: bytes) -> Iterator[FakeRunner]:
        if not plan.startswith(MAGIC):
            raise BuildRefused("TensorRT does not take back the plan that it built.")
        yield FakeRunner(plan[len(MAGIC) :], self.error, self.wrong_batch)


class FakeRunner:
    """ONNX Runtime on the file that the plan was made of."""

    def __init__(self, onnx_file: bytes, error: float, wrong_batch: int | None) -> None:
        self._session = ort.InferenceSession(onnx_file, providers=["CPUExecutionProvider"])
        self._error = error
        self._wrong_batch = wrong_batch

    def run(self, pixels: NDArray[np.uint8]) -> Arrays:
        names = [output.name for output in self._session.get_outputs()]
        arrays = dict(zip(names, self._session.run(names, {INPUT_NAME: pixels}), strict=True))
        if self._error and self._wrong_batch in (None, len(pixels)):
            dice = np.random.default_rng(1)
            for name, array in arrays.items():
                noise = self._error * np.abs(array).max() * dice.standard_normal(array.shape)
                arrays[name] = (array + noise).astype(array.dtype)
        return arrays
