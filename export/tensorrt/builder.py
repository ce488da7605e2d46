"""What a build asks of TensorRT. The real one is export.tensorrt.nvidia, one that needs no GPU export.tensorrt.fake."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from export.errors import ExportError, GraphError

Arrays = dict[str, NDArray[np.generic]]
VERSIONS = (10, 11)


class TensorRtUnavailable(ExportError):
    """This host cannot build plans; the sentence says what is missing. Nothing is wrong with the entry."""


class BuildRefused(GraphError):
    """TensorRT does not take the graph."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a plan is good for, and nothing else: this version on GPUs of this compute capability."""

    tensorrt: str
    compute_capability: str
    gpu: str


@dataclass(frozen=True, slots=True)
class BatchRange:
    """Pictures in one run: fewest, the number to be fastest at, most."""

    least: int
    usual: int
    most: int

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.usual <= self.most:
            raise ValueError(f"{self.least} ≤ {self.usual} ≤ {self.most} is no range of batches")


class PlanRunner(Protocol):
    """A plan in the GPU's memory, until the `with` ends."""

    def run(self, pixels: NDArray[np.uint8]) -> Arrays:
        """Output name → (N, ...) for pictures (N, H, W, 3). Raises BuildRefused if the plan does not run."""


class PlanBuilder(Protocol):
    """Builds plans and runs them, on one GPU."""

    @property
    def target(self) -> Target: ...

    def build(self, onnx_file: Path, batches: BatchRange) -> bytes:
        """The plan. The graph says its own precision. Raises BuildRefused with TensorRT's reason."""

    def opened(self, plan: bytes) -> AbstractContextManager[PlanRunner]:
        """The plan, ready to run. Raises BuildRefused if TensorRT does not take it."""
