"""An engine without a model, shipped for tests: its outputs are functions of the pixels, its faults are switches."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import numpy as np

from service.engines import fake_vision
from service.engines.protocol import Entry, Job, Load, Outputs, Pixels
from service.errors import (
    DeadlineExceeded,
    EngineFailed,
    EngineUnavailable,
    InvalidEntry,
    ModelUnavailable,
    UnknownModel,
)
from service.manifest import ModelCard, TensorSpec

_DTYPES = {"FP32": np.float32, "INT32": np.int32, "UINT8": np.uint8}


class FakeEngine:
    """Answers for `cards` with arrays of the right shape that depend on the mean of each picture.

    Detectors and segmenters find what is bright red, green or blue (fake_vision).

    `available`, `failing` (model names), `delay_s`, `delay_s_by_model`, `wait_s` (told, and kept), `cold` (names of
    what is not loaded), `load_s` (what a load takes) and `refusing` (names of what cannot be loaded) may be changed at
    any time.
    """

    name = "fake"

    def __init__(self, cards: list[ModelCard], *, delay_s: float = 0.0) -> None:
        self._cards = {card.name: card for card in cards}
        self.delay_s = delay_s
        self.delay_s_by_model: dict[str, float] = {}
        self.wait_s = 0.0
        self.available = True
        self.failing: set[str] = set()
        self.cold: set[str] = set()
        self.refusing: set[str] = set()
        self.load_s = 0.0
        self.jobs: list[Job] = []
        self._closed = False

    async def open(self) -> None:
        self._closed = False

    async def cards(self) -> list[ModelCard]:
        self._require_available()
        return [card for name, card in self._cards.items() if name not in self.cold]

    async def entries(self) -> list[Entry]:
        self._require_available()
        return [Entry(name, card, name not in self.cold) for name, card in self._cards.items()]

    async def load_model(self, name: str) -> int | None:
        self._require_available()
        self._require_known(name)
        await asyncio.sleep(self.load_s)
        if name in self.refusing:
            raise InvalidEntry(f"{name}: the fake engine refuses it", "graph")
        self.cold.discard(name)
        return None

    async def unload_model(self, name: str) -> None:
        self._require_available()
        self.cold.add(name)

    async def infer(self, job: Job) -> Outputs:
        self._require_available()
        card = self._require_known(job.model)
        if job.model in self.cold:
            raise ModelUnavailable(f"{job.model} is not loaded")
        started_s, waits_s = time.monotonic(), self.wait_s
        try:
            async with asyncio.timeout(job.remaining_s()):
                await asyncio.sleep(waits_s + self.delay_s_by_model.get(job.model, self.delay_s))
        except TimeoutError:
            raise DeadlineExceeded(f"{job.model} did not finish in time") from None
        self._require_available()
        if job.model in self.failing:
            raise EngineFailed(f"{job.model} failed while running")
        self.jobs.append(job)
        specs = [spec for spec in card.outputs if spec.name in job.outputs]
        arrays = {spec.name: _array(spec, job.pixels) for spec in specs}
        ran_s = time.monotonic() - started_s - waits_s
        return Outputs(arrays, waits_s * 1e3, ran_s * 1e3, len(job.pixels))

    def load(self, deadline_s: float) -> Load:
        return Load(self.wait_s)

    def expect(self, card: ModelCard, rows: int, deadline_s: float) -> Callable[[], None]:
        return lambda: None

    def providers(self) -> tuple[str, ...]:
        return ("Fake",)

    async def close(self) -> None:
        self._closed = True

    def _require_known(self, name: str) -> ModelCard:
        card = self._cards.get(name)
        if card is None:
            raise UnknownModel(f"no model {name!r} is loaded", field="model")
        return card

    def _require_available(self) -> None:
        if self._closed or not self.available:
            raise EngineUnavailable("the fake engine is switched off")


def _array(spec: TensorSpec, pixels: Pixels) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    """(N, *dims); for `probabilities` each row sums to 1 and its top class is the picture's mean level mod C."""
    rows = np.zeros((len(pixels), *(max(1, dim) for dim in spec.dims)), _DTYPES[spec.dtype])
    levels = pixels.reshape(len(pixels), -1).mean(axis=1)  # (N,)
    if spec.name == "probabilities":
        classes = rows.shape[1]
        rows[:] = 0.1 / max(1, classes - 1)
        for row, level in zip(rows, levels, strict=True):
            row[int(level) % classes] = 0.9
    elif spec.name in fake_vision.OUTPUTS:
        for row, picture in zip(rows, pixels, strict=True):
            fake_vision.fill(spec.name, row, picture)
    else:
        rows[:] = levels.reshape(-1, *[1] * len(spec.dims)).astype(rows.dtype)
    return rows
