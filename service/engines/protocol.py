"""What the gateway asks of whatever runs the models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from service.manifest import ModelCard

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Job:
    """One request's work for one model.

    pixels      (N, H, W, 3) uint8 RGB, C-contiguous, already at the model's H×W, 1 ≤ N ≤ the model's batch limit
    outputs     names of the graph outputs wanted, at least one
    deadline_s  `time.monotonic()` after which the answer is worthless; None: never
    priority    1 (first) .. 3 (first to be shed)
    """

    model: str
    pixels: Pixels
    outputs: tuple[str, ...]
    deadline_s: float | None = None
    priority: int = 2


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a model said about one job.

    arrays      output name → (N, ...), in the order of the job's pixels
    queue_ms    waiting before the model ran      infer_ms  the run itself (of the whole batch it was part of)
    batch_rows  pictures in the batch that the model really ran
    """

    arrays: dict[str, NDArray[np.generic]]
    queue_ms: float
    infer_ms: float
    batch_rows: int


class Engine(Protocol):
    """Runs models. Every engine passes tests/contract/test_engines.py."""

    name: str

    async def open(self) -> None:
        """Get ready to serve. An engine whose server is away opens all the same: `cards` then raises."""

    async def cards(self) -> list[ModelCard]:
        """The models that would answer now. Raises EngineUnavailable within a second if nobody answers."""

    async def infer(self, job: Job) -> Outputs:
        """The model's outputs for the job.

        Raises UnknownModel, DeadlineExceeded (also when the deadline passes while the model runs),
        EngineUnavailable, EngineFailed, Overloaded. Cancelling the awaiting task drops work not yet begun.
        """

    def providers(self) -> tuple[str, ...]:
        """What the models run on, best first, as `/v1/models` says it: `("CPUExecutionProvider",)`."""

    async def close(self) -> None:
        """Stop. Work not yet begun fails with EngineUnavailable; returns when nothing runs any more."""
