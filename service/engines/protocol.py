"""What the gateway asks of whatever runs the models."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from service.manifest import ModelCard
from service.work_queue import Done, Lane

Item = TypeVar("Item")
Result = TypeVar("Result")
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Job:
    """One request's work for one model.

    pixels      (N, H, W, 3) uint8 RGB, C-contiguous, already at the model's H×W, 1 ≤ N ≤ the model's batch limit
    outputs     names of the graph outputs wanted, at least one
    deadline_s  `time.monotonic()` by which the answer is wanted: work is done in this order; None: no hurry
    keep_late   the answer is wanted even after the deadline
    priority    1 (first) .. 3 (first to be shed)
    onnx_sha256 the graph of the card by which pixels were made and outputs will be read; "": whichever is there
    """

    model: str
    pixels: Pixels
    outputs: tuple[str, ...]
    deadline_s: float | None = None
    priority: int = 2
    keep_late: bool = False
    onnx_sha256: str = ""

    def remaining_s(self) -> float | None:
        """Seconds until the answer becomes worthless; None: never."""
        return None if self.deadline_s is None or self.keep_late else self.deadline_s - time.monotonic()


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a model said about one job.

    arrays      output name → (N, ...), in the order of the job's pixels
    queue_ms    waiting before the model ran      infer_ms  the run itself (of the whole batch it was part of)
    batch_rows  pictures in the batch that the model really ran
    run_alone   infer_ms is the run by itself: an engine that cannot tell waiting from running says False if it waited
    """

    arrays: dict[str, NDArray[np.generic]]
    queue_ms: float
    infer_ms: float
    batch_rows: int
    run_alone: bool = True
    saved_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Load:
    """What new work with a given deadline would meet.

    wait_s           before it begins, whatever the model      room_s  by how much others may be put off in time
    wait_s_by_model  further wait that only these models have
    """

    wait_s: float
    room_s: float = math.inf
    wait_s_by_model: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the repository, as the engine sees it.

    card     None: not known, as of an entry that a server has never loaded
    loaded   it would answer now
    refused  why it cannot be loaded: one word, as InvalidEntry has it; empty: it can
    """

    name: str
    card: ModelCard | None
    loaded: bool
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Before(Generic[Item, Result]):
    """What has to happen on a worker before a job can run: decoding its picture.

    pixels_of  its result → the job's pixels      arrived  called on the worker as soon as the job itself is queued
    """

    lane: Lane[Item, Result]
    item: Item
    cost_s: float
    pixels_of: Callable[[Result], Pixels]
    arrived: Callable[[], None]


@runtime_checkable
class SharesWorkers(Protocol):
    """An engine whose jobs run on the gateway's own workers, where decoding and inference can follow at once."""

    async def infer_after(self, before: Before[Item, Result], job: Job) -> tuple[Done[Result], Outputs]:
        """How decoding went, and what the model said; `job` comes without pixels. Raises what `infer` raises."""


class Engine(Protocol):
    """Runs models. Every engine passes tests/contract/test_engines.py."""

    name: str

    async def open(self) -> None:
        """Get ready to serve. An engine whose server is away opens all the same: `cards` then raises."""

    async def cards(self) -> list[ModelCard]:
        """The models that would answer now. Raises EngineUnavailable within a second if nobody answers."""

    async def entries(self) -> list[Entry]:
        """Everything that is in the repository, loaded or not. Raises EngineUnavailable as `cards` does."""

    async def load_model(self, name: str) -> int | None:
        """Loads the entry beside whatever runs; no harm if it is loaded. Returns the bytes it took, if that was seen.

        Raises UnknownModel, InvalidEntry (saying why it cannot be served), EngineUnavailable.
        """

    async def unload_model(self, name: str) -> None:
        """Returns when the model's memory is free; runs that have begun finish first. No harm if it is not loaded.

        Raises EngineUnavailable.
        """

    async def infer(self, job: Job) -> Outputs:
        """The model's outputs for the job.

        Raises UnknownModel, ModelUnavailable (it is there, but not loaded), DeadlineExceeded (also when the deadline
        passes while the model runs), EngineUnavailable, EngineFailed, Overloaded. Cancelling the awaiting task drops
        work not yet begun.
        """

    def load(self, deadline_s: float) -> Load:
        """What a job with that deadline would wait for now. Called for every request: microseconds, never I/O."""

    def expect(self, card: ModelCard, rows: int, deadline_s: float) -> Callable[[], None]:
        """Tells of a job that comes as soon as its pictures are decoded: `load` counts it from now on.

        To be called once the job itself has come, or will not; more often does no harm.
        """

    def providers(self) -> tuple[str, ...]:
        """What the models run on, best first, as `/v1/models` says it: `("CPUExecutionProvider",)`."""

    async def close(self) -> None:
        """Stop. Work not yet begun fails with EngineUnavailable; returns when nothing runs any more."""
