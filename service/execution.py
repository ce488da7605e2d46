"""One picture on one model: decode, infer, and tell the predictor how long each took."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service import tracing
from service.ask import Ask, Finish, Raw
from service.bodies import Picture
from service.engines.protocol import Engine, Job, Outputs, Pixels
from service.errors import DeadlineExceeded, EngineError
from service.image_header import ImageHeader, SizeLimits, read_header
from service.images import Geometry, to_model_pixels
from service.latency import Predictor
from service.manifest import ModelCard, ResizeRule
from service.metrics import Metrics
from service.model_statistics import ModelStatistics
from service.workers import Lane, Workers


@dataclass(frozen=True, slots=True)
class Inferred:
    """One picture's raw outputs, (…) without the batch axis, the model they are of, and the way to image pixels.

    result  what the request's own `finish` made of them, if it has one
    """

    card: ModelCard
    arrays: dict[str, NDArray[np.generic]]
    geometry: Geometry
    timing_ms: dict[str, float]
    result: Any = None


@dataclass(frozen=True, slots=True)
class _DecodeItem:
    picture: Picture
    header: ImageHeader
    rule: ResizeRule


def _decode(items: list[_DecodeItem]) -> list[tuple[Pixels, Geometry]]:
    return [to_model_pixels(i.picture.data, i.header, i.rule, field=i.picture.field) for i in items]


def _finish(items: list[tuple[Finish, Raw]]) -> list[Any]:
    return [finish.run(raw) for finish, raw in items]


class Execution:
    """Two thread hops a picture, three where something is left to do after the model; all in the order of deadlines."""

    def __init__(self, engine: Engine, workers: Workers, predictor: Predictor, metrics: Metrics) -> None:
        self._engine = engine
        self._workers = workers
        self._predictor = predictor
        self._metrics = metrics
        self.statistics = ModelStatistics()
        self._decode_lane: Lane[_DecodeItem, tuple[Pixels, Geometry]] = Lane("decode", _decode)
        self._finish_lane: Lane[tuple[Finish, Raw], Any] = Lane("finish", _finish)

    @property
    def waiting(self) -> int:
        """Pieces of work that no worker has taken yet."""
        return self._workers.waiting

    def announce(self, card: ModelCard, ask: Ask) -> Callable[[], None]:
        """Tells the engine of a job to come, so that the next choice sees it; the answer takes it back."""
        return self._engine.expect(card, 1, ask.deadline_s)

    async def run(
        self,
        picture: Picture,
        header: ImageHeader,
        card: ModelCard,
        ask: Ask,
        arrived: Callable[[], None] = lambda: None,
    ) -> Inferred:
        """The model's outputs for the picture; `arrived` is called when the engine has the job itself."""
        decoded = await self._workers.run(
            self._decode_lane,
            _DecodeItem(picture, header, card.resize),
            cost_s=self._predictor.decode_ms(header, card.resize) / 1e3,
            deadline_s=ask.deadline_s,
            keep_late=ask.keep_late,
        )
        self._predictor.observe_decode(header, card.resize, decoded.run_s * 1e3)
        tracing.took("decode", decoded.run_s, decoded.queue_s, format=header.format, pixels=header.pixels)
        pixels, geometry = decoded.result
        job = Job(card.name, pixels[np.newaxis], ask.outputs, ask.deadline_s, ask.priority, ask.keep_late)
        arrived()
        outputs = await self.infer(job, card)
        timing_ms = {
            "decode": decoded.run_s * 1e3,
            "queue": decoded.queue_s * 1e3 + outputs.queue_ms,
            "infer": outputs.infer_ms,
        }
        arrays = {name: array[0] for name, array in outputs.arrays.items()}
        result, finish_ms = None, 0.0
        if ask.finish is not None:
            raw = Raw(card, arrays, geometry, picture, header)
            result, waited_ms, finish_ms = await self._finish(ask.finish, raw, ask)
            timing_ms["queue"] += waited_ms
        self.statistics.answered(
            card.name,
            input_ms=timing_ms["decode"],
            queue_ms=timing_ms["queue"],
            infer_ms=timing_ms["infer"],
            output_ms=finish_ms,
        )
        return Inferred(card, arrays, geometry, timing_ms, result)

    async def infer(self, job: Job, card: ModelCard) -> Outputs:
        """The engine's answer, once the predictor, the metrics and the model's statistics know of it."""
        started_s = time.monotonic()
        try:
            with tracing.stage("engine", model=card.name):
                outputs = await self._engine.infer(job)
                infer_s, queued_s = outputs.infer_ms / 1e3, outputs.queue_ms / 1e3
                tracing.took("infer", infer_s, queued_s, model=card.name, batch_rows=outputs.batch_rows)
        except EngineError:
            self.statistics.failed(card.name, (time.monotonic() - started_s) * 1e3)
            raise
        if outputs.run_alone:
            self._predictor.observe_run(card, outputs.batch_rows, outputs.infer_ms, time.monotonic())
        self._metrics.infer_duration.labels(card.name).observe(outputs.infer_ms / 1e3)
        self._metrics.batch_size.labels(card.name).observe(outputs.batch_rows)
        self.statistics.ran(card.name, rows=len(job.pixels), batch_rows=outputs.batch_rows, infer_ms=outputs.infer_ms)
        return outputs

    async def _finish(self, finish: Finish, raw: Raw, ask: Ask) -> tuple[Any, float, float]:
        """What `finish` makes of the outputs, and the milliseconds it waited and worked. Raises DeadlineExceeded."""
        remaining_s = None if ask.keep_late else ask.deadline_s - time.monotonic()
        try:
            async with asyncio.timeout(remaining_s):
                done = await self._workers.run(
                    self._finish_lane,
                    (finish, raw),
                    cost_s=self._predictor.post_ms(raw.header, finish.post) / 1e3,
                    deadline_s=ask.deadline_s,
                    keep_late=ask.keep_late,
                )
        except TimeoutError:
            raise DeadlineExceeded("the model answered, but its answer was not made ready in time") from None
        self._predictor.observe_post(raw.header, finish.post, done.run_s * 1e3)
        return done.result, done.queue_s * 1e3, done.run_s * 1e3

    async def warm(self, limits: SizeLimits) -> None:
        """Starts every worker and decodes a dot of each format, so that no request pays for Pillow's imports."""
        rule = ResizeRule("squash", (8, 8))
        for name in ("jpeg", "png", "webp"):
            dot = io.BytesIO()
            Image.new("RGB", (8, 8)).save(dot, name)
            item = _DecodeItem(Picture("image", dot.getvalue()), read_header(dot.getvalue(), limits), rule)
            await asyncio.gather(*(self._workers.run(self._decode_lane, item) for _ in range(self._workers.count)))
