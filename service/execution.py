"""One picture on one model: decode, infer, and tell the predictor how long each took."""

from __future__ import annotations

import asyncio
import io
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service import tracing
from service.ask import Ask, Finish, Raw
from service.bodies import Picture
from service.cache import Cache
from service.circuits import Circuits
from service.engines.freed_memory import hand_back
from service.engines.protocol import Before, Engine, Job, Outputs, Pixels, SharesWorkers
from service.errors import DeadlineExceeded, EngineError
from service.image_header import ImageHeader, SizeLimits, read_header
from service.images import Geometry, to_model_pixels
from service.latency import Predictor
from service.manifest import ModelCard, ResizeRule
from service.metrics import Metrics
from service.model_statistics import ModelStatistics
from service.tasks.classify import check_classified
from service.work_queue import Done, Lane
from service.workers import Workers


@dataclass(frozen=True, slots=True)
class Inferred:
    """One picture's raw outputs, (…) without the batch axis, the model they are of, and the way to image pixels.

    result    what the request's own `finish` made of them, if it has one
    cached    nothing was decoded or run: the same bytes had been seen
    saved_ms  how much longer it would have taken on a busy machine
    worked_ms  its decoding, run and finish, as long as a busy machine takes; None: cannot be told from waiting
    """

    card: ModelCard
    arrays: dict[str, NDArray[np.generic]]
    geometry: Geometry
    timing_ms: dict[str, float]
    result: Any = None
    saved_ms: float = 0.0
    worked_ms: float | None = None
    cached: bool = False


@dataclass(frozen=True, slots=True)
class _DecodeItem:
    picture: Picture
    header: ImageHeader
    rule: ResizeRule


_NOTHING_RUN_MS = {"decode": 0.0, "queue": 0.0, "infer": 0.0}
# Decoded, it is 50 MB and more, several times over, which every worker's heap would keep for the next one.
_LARGE_PIXELS = 16_000_000
_NOT_YET: Pixels = np.empty((0, 0, 0, 3), np.uint8)


def _pixels_of(decoded: tuple[Pixels, Geometry]) -> Pixels:
    """(1, H, W, 3)."""
    return decoded[0][np.newaxis]


def _decode(items: list[_DecodeItem]) -> list[tuple[Pixels, Geometry]]:
    try:
        return [to_model_pixels(i.picture.data, i.header, i.rule, field=i.picture.field) for i in items]
    finally:
        if any(i.header.pixels >= _LARGE_PIXELS for i in items):
            hand_back()


def _finish(items: list[tuple[Finish, Raw]]) -> list[Any]:
    return [finish.run(raw) for finish, raw in items]


def _wanted_until_s(ask: Ask) -> float:
    return math.inf if ask.keep_late else ask.deadline_s


class Execution:
    """One way to a worker and back for each picture, two where something is left to do after the model."""

    def __init__(
        self,
        engine: Engine,
        workers: Workers,
        predictor: Predictor,
        metrics: Metrics,
        circuits: Circuits,
        cache: Cache | None = None,
    ) -> None:
        self._cache = cache or Cache(0)
        self._circuits = circuits
        self._engine = engine
        self._shares_workers = engine if isinstance(engine, SharesWorkers) else None
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
        key = await self._cache.key(picture.data, card, ask.outputs) if self._cache.on else None
        kept = self._cache.get(key) if key is not None else None
        if key is not None:
            self._metrics.cache_lookups.labels("miss" if kept is None else "hit").inc()
        if kept is not None:
            timing_ms = dict(_NOTHING_RUN_MS)
            raw = Raw(card, kept.arrays, kept.geometry, picture, header, _wanted_until_s(ask))
            result, _ = await self._finish(raw, ask, timing_ms)
            return Inferred(card, kept.arrays, kept.geometry, timing_ms, result, cached=True)
        with self._circuits.watched(card):
            inferred, finish_ms = await self._run(picture, header, card, ask, arrived)
        if key is not None:  # what could not be read is not kept: the next time it may be well
            self._cache.put(key, inferred.arrays, inferred.geometry)
        self.statistics.answered(
            card.name,
            input_ms=inferred.timing_ms["decode"],
            queue_ms=inferred.timing_ms["queue"],
            infer_ms=inferred.timing_ms["infer"],
            output_ms=finish_ms,
        )
        return inferred

    async def _run(
        self, picture: Picture, header: ImageHeader, card: ModelCard, ask: Ask, arrived: Callable[[], None]
    ) -> tuple[Inferred, float]:
        """The outputs, looked at and made ready, and the milliseconds that the latter took."""
        with self._finish_to_come(header, ask):
            decoded, outputs = await self._decode_and_infer(picture, header, card, ask, arrived)
        _, geometry = decoded.result
        self._predictor.observe_decode(header, card.resize, decoded.run_s * 1e3)
        timing_ms = {
            "decode": decoded.run_s * 1e3,
            "queue": decoded.queue_s * 1e3 + outputs.queue_ms,
            "infer": outputs.infer_ms,
        }
        arrays = {name: array[0] for name, array in outputs.arrays.items()}
        check_classified(arrays)
        raw = Raw(card, arrays, geometry, picture, header, _wanted_until_s(ask))
        result, finish_ms = await self._finish(raw, ask, timing_ms)
        saved_ms = outputs.saved_ms
        worked_ms = timing_ms["decode"] + timing_ms["infer"] + saved_ms + finish_ms if outputs.run_alone else None
        return Inferred(card, arrays, geometry, timing_ms, result, saved_ms, worked_ms), finish_ms

    async def _decode_and_infer(
        self, picture: Picture, header: ImageHeader, card: ModelCard, ask: Ask, arrived: Callable[[], None]
    ) -> tuple[Done[tuple[Pixels, Geometry]], Outputs]:
        item = _DecodeItem(picture, header, card.resize)
        cost_s = self._predictor.decode_ms(header, card.resize) / 1e3
        job = Job(card.name, _NOT_YET, ask.outputs, ask.deadline_s, ask.priority, ask.keep_late, card.onnx_sha256)
        if self._shares_workers is not None:
            before = Before(self._decode_lane, item, cost_s, _pixels_of, arrived)
            with self._asking(card):
                decoded, outputs = await self._shares_workers.infer_after(before, job)
                self._ran(card, 1, outputs)
            ago_s = (outputs.queue_ms + outputs.infer_ms) / 1e3
            self._decoded(decoded, header, ago_s)
            return decoded, outputs
        decoded = await self._workers.run(
            self._decode_lane, item, cost_s=cost_s, deadline_s=ask.deadline_s, keep_late=ask.keep_late
        )
        self._decoded(decoded, header, 0.0)
        arrived()
        return decoded, await self._infer(replace(job, pixels=_pixels_of(decoded.result)), card)

    def _decoded(self, decoded: Done[tuple[Pixels, Geometry]], header: ImageHeader, ago_s: float) -> None:
        tracing.took("decode", decoded.run_s, decoded.queue_s, ago_s=ago_s, format=header.format, pixels=header.pixels)

    async def infer(self, job: Job, card: ModelCard) -> Outputs:
        """The engine's answer, once the predictor, the metrics and the model's statistics know of it."""
        with self._circuits.watched(card):
            return await self._infer(job, card)

    async def _infer(self, job: Job, card: ModelCard) -> Outputs:
        with self._asking(card):
            outputs = await self._engine.infer(job)
            self._ran(card, len(job.pixels), outputs)
        return outputs

    @contextmanager
    def _asking(self, card: ModelCard) -> Iterator[None]:
        """While the engine works for one request: a stage of its trace, and a failure of the model if it fails."""
        started_s = time.monotonic()
        try:
            with tracing.stage("engine", model=card.name):
                yield
        except EngineError:
            self.statistics.failed(card.name, (time.monotonic() - started_s) * 1e3)
            raise

    @contextmanager
    def _finish_to_come(self, header: ImageHeader, ask: Ask) -> Iterator[None]:
        """What is left to do after the model counts as waiting work as soon as the request is admitted."""
        if ask.finish is None:
            yield
            return
        arrived = self._workers.announce(self._predictor.post_ms(header, ask.finish.post) / 1e3, ask.deadline_s)
        try:
            yield
        finally:
            arrived()

    def _ran(self, card: ModelCard, rows: int, outputs: Outputs) -> None:
        """Tells everybody who keeps count of one run."""
        infer_s, queued_s = outputs.infer_ms / 1e3, outputs.queue_ms / 1e3
        tracing.took("infer", infer_s, queued_s, model=card.name, batch_rows=outputs.batch_rows)
        if outputs.run_alone:
            busy_ms = outputs.infer_ms + outputs.saved_ms
            self._predictor.observe_run(card, outputs.batch_rows, busy_ms, time.monotonic())
        self._metrics.infer_duration.labels(card.name).observe(outputs.infer_ms / 1e3)
        self._metrics.batch_size.labels(card.name).observe(outputs.batch_rows)
        self.statistics.ran(card.name, rows=rows, batch_rows=outputs.batch_rows, infer_ms=outputs.infer_ms)

    async def _finish(self, raw: Raw, ask: Ask, timing_ms: dict[str, float]) -> tuple[Any, float]:
        """What the request makes of the outputs, and the milliseconds it took; its waiting is added to `queue`.

        Raises DeadlineExceeded, EngineFailed for outputs that cannot be what they should be.
        """
        finish = ask.finish
        if finish is None:
            return None, 0.0
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
        timing_ms["queue"] += done.queue_s * 1e3
        return done.result, done.run_s * 1e3

    async def warm(self, limits: SizeLimits) -> None:
        """Starts every worker and decodes a dot of each format, so that no request pays for Pillow's imports."""
        rule = ResizeRule("squash", (8, 8))
        for name in ("jpeg", "png", "webp"):
            dot = io.BytesIO()
            Image.new("RGB", (8, 8)).save(dot, name)
            item = _DecodeItem(Picture("image", dot.getvalue()), read_header(dot.getvalue(), limits), rule)
            await asyncio.gather(*(self._workers.run(self._decode_lane, item) for _ in range(self._workers.count)))
