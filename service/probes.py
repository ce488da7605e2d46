"""Estimates of models that nobody asked for lately are kept fresh, with work that only idle processors do."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time

import numpy as np

from service.engines.protocol import Engine, Job
from service.errors import VisionError
from service.fleet import Fleet
from service.latency import Predictor
from service.manifest import ModelCard
from service.pipeline import Pipeline

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0


class Probes:
    """Runs one grey picture through the model that ran longest ago, if that is `after_s` ago and nothing else waits."""

    def __init__(self, engine: Engine, fleet: Fleet, predictor: Predictor, pipeline: Pipeline, after_s: float) -> None:
        self._engine = engine
        self._fleet = fleet
        self._predictor = predictor
        self._pipeline = pipeline
        self._after_s = after_s
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Probes in the background from now on; not at all if `after_s` is 0."""
        if self._after_s > 0:
            self._task = asyncio.create_task(self._keep_probing(), name="probes")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _keep_probing(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            card = self._stalest()
            if card is not None and self._idle():
                await self._probe(card)

    def _stalest(self) -> ModelCard | None:
        routable = [card for card in self._fleet.loaded_cards if card.profile is not None and card.weights.trained]
        if not self._fleet.ready or not routable:
            return None
        card = min(routable, key=lambda card: self._predictor.last_run_s(card.name))
        return card if time.monotonic() - self._predictor.last_run_s(card.name) > self._after_s else None

    def _idle(self) -> bool:
        return self._pipeline.in_flight == 0 and self._engine.load(math.inf).wait_s == 0.0

    async def _probe(self, card: ModelCard) -> None:
        grey = np.full((1, *card.resize.size_hw, 3), 114, np.uint8)
        try:
            outputs = await self._engine.infer(Job(card.name, grey, (card.outputs[0].name,), priority=3))
        except VisionError as err:
            log.debug("probing %s: %s", card.name, err.detail)
            return
        busy_ms = outputs.infer_ms + outputs.saved_ms
        self._predictor.observe_run(card, outputs.batch_rows, busy_ms, time.monotonic())
