"""One request, the whole straight line: permit → header → choice → decode → infer → what the tasks turn into an answer.

Two thread hops a picture (decode, infer), both in the engine's order: earliest deadline first.
"""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.bodies import Picture
from service.engines.protocol import Engine, Job, Pixels
from service.errors import (
    AccuracyUnsatisfiable,
    BudgetUnsatisfiable,
    DeadlineExceeded,
    DeadlineInfeasible,
    EngineUnavailable,
    Overloaded,
    VisionError,
)
from service.fleet import Fleet
from service.hedging import HedgeBudget, plan_hedge
from service.image_header import ImageHeader, SizeLimits, read_header
from service.images import Geometry, to_model_pixels
from service.latency import Estimates, Predictor, Variants
from service.manifest import ModelCard, ResizeRule, Task
from service.metrics import Metrics
from service.routing import Choice, Demand, Refusal, Steadiness, admit_pinned, choose
from service.settings import Tier
from service.workers import Lane, Workers

TierLabel = Tier | Literal["custom", "none"]


@dataclass(frozen=True, slots=True)
class Ask:
    """What one request wants, in the gateway's terms. received_s is `time.monotonic()` at its headers."""

    task: Task
    outputs: tuple[str, ...]
    tier: TierLabel
    budget_ms: float
    received_s: float
    model: str | None = None
    min_accuracy: float | None = None
    degrade: bool = True
    keep_late: bool = False
    priority: int = 2

    @property
    def deadline_s(self) -> float:
        return self.received_s + self.budget_ms / 1e3

    def spent_ms(self) -> float:
        return (time.monotonic() - self.received_s) * 1e3


@dataclass(frozen=True, slots=True)
class Decision:
    """The chosen variant, and everything that was known when it was chosen."""

    variants: Variants
    estimates: Estimates
    choice: Choice

    @property
    def card(self) -> ModelCard:
        return self.variants.cards[self.choice.index]

    @property
    def p95_ms(self) -> float:
        return float(self.estimates.p95_ms[self.choice.index])


@dataclass(frozen=True, slots=True)
class Inferred:
    """One picture's raw outputs, (…) without the batch axis, the model they are of, and the way to image pixels."""

    card: ModelCard
    arrays: dict[str, NDArray[np.generic]]
    geometry: Geometry
    timing_ms: dict[str, float]


@dataclass(frozen=True, slots=True)
class Served:
    """The outputs, and the decision behind them. `hedged`: the fastest model was fired as well."""

    decision: Decision
    pictures: list[Inferred]
    hedged: bool = False

    @property
    def card(self) -> ModelCard:
        """The model that answered: the chosen one, or the hedge."""
        return self.pictures[0].card

    @property
    def degraded(self) -> bool:
        return self.decision.choice.degraded or self.card is not self.decision.card


@dataclass(frozen=True, slots=True)
class _DecodeItem:
    picture: Picture
    header: ImageHeader
    rule: ResizeRule


def _decode(items: list[_DecodeItem]) -> list[tuple[Pixels, Geometry]]:
    return [to_model_pixels(i.picture.data, i.header, i.rule, field=i.picture.field) for i in items]


@dataclass
class Pipeline:
    engine: Engine
    fleet: Fleet
    workers: Workers
    predictor: Predictor
    metrics: Metrics
    size_limits: SizeLimits
    max_in_flight: int
    hedges: HedgeBudget
    _in_flight: int = 0
    _steadiness: dict[tuple[Task, TierLabel], Steadiness] = field(default_factory=dict)
    _decode_lane: Lane[_DecodeItem, tuple[Pixels, Geometry]] = field(
        default_factory=lambda: Lane("decode", _decode), repr=False
    )

    async def serve(self, pictures: list[Picture], ask: Ask) -> Served:
        """The model's outputs for every picture, in order. Raises whatever keeps any of them from being answered."""
        with self._permit():
            headers = [read_header(picture.data, self.size_limits, field=picture.field) for picture in pictures]
            decision = self.decide(headers, ask)
            try:
                served = await self._infer_all(pictures, headers, decision, ask)
            except EngineUnavailable:
                self.fleet.engine_lost()
                raise
            except DeadlineExceeded:
                self._learn_miss(decision, ask)
                raise
            self._learn(served, ask)
            return served

    @property
    def in_flight(self) -> int:
        """Requests admitted and not yet answered."""
        return self._in_flight

    async def warm(self) -> None:
        """Starts every worker and decodes a dot of each format, so that no request pays for Pillow's imports."""
        rule = ResizeRule("squash", (8, 8))
        for name in ("jpeg", "png", "webp"):
            dot = io.BytesIO()
            Image.new("RGB", (8, 8)).save(dot, name)
            header = read_header(dot.getvalue(), self.size_limits)
            item = _DecodeItem(Picture("image", dot.getvalue()), header, rule)
            await asyncio.gather(*(self.workers.run(self._decode_lane, item) for _ in range(self.workers.count)))

    def look(self, headers: list[ImageHeader], ask: Ask) -> tuple[Variants, Estimates, Choice | Refusal]:
        """Every candidate with what it would take now, and the choice: nothing is run, nothing remembered."""
        return self._choose(headers, ask, Steadiness())

    def decide(self, headers: list[ImageHeader], ask: Ask) -> Decision:
        """The variant that will answer. Raises the refusal as the error it is."""
        # Only a tier without further wishes is common enough to have a last choice worth holding on to.
        common = ask.tier != "custom" and ask.model is None and ask.min_accuracy is None
        steadiness = self._steadiness.setdefault((ask.task, ask.tier), Steadiness()) if common else Steadiness()
        started_s = time.perf_counter()
        variants, estimates, choice = self._choose(headers, ask, steadiness)
        self.metrics.decision_duration.observe(time.perf_counter() - started_s)
        if isinstance(choice, Refusal):
            raise refusal_error(choice, ask)
        decision = Decision(variants, estimates, choice)
        self.metrics.decisions.labels(ask.tier, decision.card.name, choice.reason).inc()
        return decision

    def _choose(
        self, headers: list[ImageHeader], ask: Ask, steadiness: Steadiness
    ) -> tuple[Variants, Estimates, Choice | Refusal]:
        pinned = ask.model is not None
        variants = self.fleet.pinned(ask.model, ask.task) if ask.model else self.fleet.routable(ask.task)
        load = self.engine.load(ask.deadline_s)
        estimates = self.predictor.estimate(
            variants,
            headers,
            spent_ms=ask.spent_ms(),
            wait_ms=load.wait_s * 1e3,
            wait_ms_by_model={name: wait_s * 1e3 for name, wait_s in load.wait_s_by_model.items()},
        )
        demand = Demand(ask.budget_ms, ask.min_accuracy, ask.degrade, ask.priority)
        if pinned and len(variants.cards) == 1:
            return variants, estimates, admit_pinned(estimates, 0, demand)
        return (
            variants,
            estimates,
            choose(variants, estimates, demand, room_ms=load.room_s * 1e3, steadiness=steadiness),
        )

    async def _infer_all(
        self, pictures: list[Picture], headers: list[ImageHeader], decision: Decision, ask: Ask
    ) -> Served:
        """Each picture on its own: whether pictures share a run is the engine's business."""
        if len(pictures) == 1:
            return await self._infer_with_hedge(pictures[0], headers[0], decision, ask)
        tasks: list[asyncio.Task[Inferred]] = []
        try:
            async with asyncio.TaskGroup() as group:
                for picture, header in zip(pictures, headers, strict=True):
                    tasks.append(group.create_task(self._infer_one(picture, header, decision.card, ask)))
        except* Exception as failed:
            # The first failure cancelled the others; it alone is what the client can act on.
            raise failed.exceptions[0] from None
        return Served(decision, [task.result() for task in tasks])

    async def _infer_with_hedge(self, picture: Picture, header: ImageHeader, decision: Decision, ask: Ask) -> Served:
        """The chosen model's answer; if it is about to be late, whichever of it and the fastest model's comes."""
        self.hedges.earn()
        demand = Demand(ask.budget_ms, ask.min_accuracy)
        plan = plan_hedge(decision.variants, decision.estimates, decision.choice.index, demand)
        if plan is None or ask.keep_late:
            return Served(decision, [await self._infer_one(picture, header, decision.card, ask)])
        first = asyncio.ensure_future(self._infer_one(picture, header, decision.card, ask))
        second: asyncio.Future[Inferred] | None = None
        try:
            await asyncio.wait((first,), timeout=max(0.0, plan.fire_at_ms - ask.spent_ms()) / 1e3)
            if first.done() or not self.hedges.spend():
                return Served(decision, [await first])
            second = asyncio.ensure_future(self._infer_one(picture, header, plan.card, ask))
            winner = await _first_to_succeed(first, second)
            self.metrics.hedges.labels("lost" if winner.card is decision.card else "won").inc()
            return Served(decision, [winner], hedged=True)
        finally:
            for task in (first, second):
                if task is not None:
                    await _let_go(task)

    async def _infer_one(self, picture: Picture, header: ImageHeader, card: ModelCard, ask: Ask) -> Inferred:
        decoded = await self.workers.run(
            self._decode_lane,
            _DecodeItem(picture, header, card.resize),
            cost_s=self.predictor.decode_ms(header, card.resize) / 1e3,
            deadline_s=ask.deadline_s,
            keep_late=ask.keep_late,
        )
        self.predictor.observe_decode(header, card.resize, decoded.run_s * 1e3)
        pixels, geometry = decoded.result
        job = Job(card.name, pixels[np.newaxis], ask.outputs, ask.deadline_s, ask.priority, ask.keep_late)
        outputs = await self.engine.infer(job)
        if outputs.run_alone:
            self.predictor.observe_run(card, outputs.batch_rows, outputs.infer_ms, time.monotonic())
        self.metrics.infer_duration.labels(card.name).observe(outputs.infer_ms / 1e3)
        self.metrics.batch_size.labels(card.name).observe(outputs.batch_rows)
        timing_ms = {
            "decode": decoded.run_s * 1e3,
            "queue": decoded.queue_s * 1e3 + outputs.queue_ms,
            "infer": outputs.infer_ms,
        }
        return Inferred(card, {name: array[0] for name, array in outputs.arrays.items()}, geometry, timing_ms)

    def _learn(self, served: Served, ask: Ask) -> None:
        took_ms = ask.spent_ms()
        if served.card is served.decision.card:
            self._observe(served.decision, took_ms)
        else:
            self._learn_miss(served.decision, ask)
        if took_ms > ask.budget_ms and not ask.keep_late:
            raise DeadlineExceeded(f"the answer came after {took_ms:.0f} ms; the budget was {ask.budget_ms:g} ms")

    def _learn_miss(self, decision: Decision, ask: Ask) -> None:
        # How long it would have taken is unknown, but it was longer than promised, where a promise was made.
        if decision.p95_ms <= ask.budget_ms:
            self._observe(decision, max(ask.spent_ms(), decision.p95_ms * 1.01))

    def _observe(self, decision: Decision, took_ms: float) -> None:
        index, estimates = decision.choice.index, decision.estimates
        self.predictor.observe_request(
            decision.card,
            expected_ms=float(estimates.expected_ms[index]),
            p95_ms=decision.p95_ms,
            spent_ms=estimates.spent_ms,
            took_ms=took_ms,
        )
        self.metrics.prediction_ratio.labels(decision.card.name).observe(took_ms / decision.p95_ms)
        self.metrics.prediction_coverage.set(self.predictor.coverage() or 0.0)

    @contextmanager
    def _permit(self) -> Iterator[None]:
        if self._in_flight >= self.max_in_flight:
            raise Overloaded(
                f"{self._in_flight} requests are in flight already", limit=f"{self.max_in_flight} requests in flight"
            )
        self._in_flight += 1
        self.metrics.in_flight.set(self._in_flight)
        self.metrics.queue_depth.set(self.workers.waiting)
        try:
            yield
        finally:
            self._in_flight -= 1
            self.metrics.in_flight.set(self._in_flight)


async def _first_to_succeed(chosen: asyncio.Future[Inferred], hedge: asyncio.Future[Inferred]) -> Inferred:
    """Whichever comes first, the chosen one if both are there. Raises what the chosen one raised if both failed."""
    await asyncio.wait((chosen, hedge), return_when=asyncio.FIRST_COMPLETED)
    if not chosen.done() and hedge.exception() is None:
        return hedge.result()
    await asyncio.wait((chosen,))
    if chosen.exception() is None:
        return chosen.result()
    await asyncio.wait((hedge,))
    return hedge.result() if hedge.exception() is None else chosen.result()


async def _let_go(task: asyncio.Future[Inferred]) -> None:
    """Cancels what is no longer wanted, and looks at how it ended, so that nothing is reported as never retrieved."""
    task.cancel()
    await asyncio.wait((task,))
    if not task.cancelled():
        task.exception()


def refusal_error(refusal: Refusal, ask: Ask) -> VisionError:
    """The refusal as the error the client gets, with the number that would have worked."""
    fastest = f"{refusal.fastest_ms:.1f} ms"
    if refusal.kind == "budget-unsatisfiable":
        return BudgetUnsatisfiable(
            f"the budget is {ask.budget_ms:g} ms; even on an idle machine this picture typically takes {fastest}",
            field="model" if ask.model else "latency_budget_ms",
            limit=f"at least {fastest}",
        )
    if refusal.kind == "accuracy-unsatisfiable":
        return AccuracyUnsatisfiable(f"no model reaches {ask.min_accuracy:g} %", field="min_accuracy")
    return DeadlineInfeasible(
        f"the budget is {ask.budget_ms:g} ms; just now the fastest model would typically take {fastest}",
        limit=f"about {fastest} now",
        retry_after_s=refusal.retry_after_s,
    )
