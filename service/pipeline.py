"""One request, the whole straight line: permit → header → choice → decode → infer → learn how long it took."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from service import tracing
from service.ask import Ask
from service.bodies import Picture
from service.cascade import FALL_BACK_MS, Outcome, first_model, run_cascade
from service.decision import Chooser, Decision
from service.errors import (
    DeadlineExceeded,
    DeadlineInfeasible,
    EngineError,
    EngineFailed,
    EngineUnavailable,
    ModelLoading,
    ModelUnavailable,
    NotReady,
    OverFairShare,
    Overloaded,
    UnknownModel,
    VisionError,
)
from service.execution import Execution, Inferred
from service.fair_share import Permits
from service.fleet import Fleet
from service.hedging import HedgeBudget, plan_hedge, with_hedge
from service.image_header import ImageHeader, SizeLimits, read_header
from service.latency import Predictor
from service.manifest import ModelCard
from service.metrics import Metrics

# Whoever waited in vain is admitted again only if the other model's prediction still fits, and that may have risen.
_STAND_IN_FACTOR = 1.5
_STAND_IN_SLACK_MS = 5.0
# Nine of ten loads are there when they should be.
_PATIENCE_FACTOR = 1.5
_LEAST_PATIENCE_S = 0.05


@dataclass(frozen=True, slots=True)
class Served:
    """The outputs, and the decision behind them.

    hedged  the fastest model was fired as well
    failed  models that were chosen for the request before, and failed
    """

    decision: Decision
    pictures: list[Inferred]
    hedged: bool = False
    cascade: Outcome | None = None
    failed: tuple[str, ...] = ()

    @property
    def card(self) -> ModelCard:
        """The model that answered: the chosen one, the hedge, or the cascade's first."""
        return self.pictures[0].card

    @property
    def degraded(self) -> bool:
        fell_back = self.card is not self.decision.card and self.cascade != "sure"
        return self.decision.choice.degraded or fell_back or bool(self.failed)


@dataclass
class Pipeline:
    """busy_from: with more requests in flight, new ones may have to wait."""

    chooser: Chooser
    execution: Execution
    fleet: Fleet
    predictor: Predictor
    metrics: Metrics
    size_limits: SizeLimits
    permits: Permits
    hedges: HedgeBudget
    cascade_confidence: float
    busy_from: int = 0

    @property
    def in_flight(self) -> int:
        return self.permits.in_flight

    async def serve(self, pictures: list[Picture], ask: Ask) -> Served:
        """The model's outputs for every picture, in order. Raises whatever keeps any of them from being answered."""
        with self.permit(ask.client):
            headers = [read_header(picture.data, self.size_limits, field=picture.field) for picture in pictures]
            try:
                served = await self._serve(pictures, headers, ask)
            except EngineFailed as failure:
                if ask.model is not None:  # who named a model is told
                    raise
                served = await self._serve_instead(pictures, headers, ask, failure)
            self._learn(served, ask)
            return served

    def refuse_early(self, ask: Ask) -> None:
        """Raises the refusal that no picture would change: there is no permit, or no time left even for a dot.

        Called before the body is read. While workers have little to do it would be in vain, and is not tried.
        """
        if self.in_flight <= self.busy_from:
            return
        with self.permit(ask.client):
            self.chooser.refuse_early(ask)

    async def _serve_instead(
        self, pictures: list[Picture], headers: list[ImageHeader], ask: Ask, failure: EngineFailed
    ) -> Served:
        """Another model's answer in place of the one that failed: once, for it may as well be the picture.

        Raises the failure if no other model is left that would be in time, else what becomes of that one.
        """
        outcome = "failed"
        try:
            served = await self._serve(pictures, headers, ask, frozenset({failure.model}))
            outcome = "answered"
            return replace(served, failed=(failure.model,))
        except EngineError:
            raise
        except VisionError:
            raise failure from None
        finally:
            self.metrics.reroutes.labels(failure.model, outcome).inc()

    async def _serve(
        self, pictures: list[Picture], headers: list[ImageHeader], ask: Ask, without: frozenset[str] = frozenset()
    ) -> Served:
        """By a model that is not among `without`. Raises NotReady if there are only those."""
        overdue: frozenset[str] = frozenset()
        for last in (False, False, True):
            decision = self._choose(headers, ask, without | overdue)
            if decision.card.name in without:
                raise NotReady("no other model is left")
            try:
                alone = decision.card.name in overdue  # the others cannot be chosen: they fail, or would be late
                until_s = ask.deadline_s if alone else self._wait_until_s(decision, ask)
                return await self._run_loaded(pictures, headers, decision, ask, until_s)
            except ModelLoading:
                # Who named it waited for it alone; for anybody else another one is there, and has the time left.
                if ask.model is not None or last or decision.card.name in overdue:
                    raise
                overdue |= {decision.card.name}
            except (ModelUnavailable, UnknownModel):
                # Gone between the choice and the run. Who named it is told; who did not gets another one.
                self.fleet.model_lost(decision.card.name)
                if ask.model is not None or last:
                    raise
            except EngineUnavailable:
                self.fleet.engine_lost()
                raise
            except DeadlineExceeded:
                self.learn_miss(decision, ask)
                raise
        raise AssertionError("not reached")

    def _choose(self, headers: list[ImageHeader], ask: Ask, without: frozenset[str] = frozenset()) -> Decision:
        with tracing.stage("route"):
            decision = self.chooser.decide(headers, ask, without)
        said = decision.choice.reason
        tracing.say(chosen=decision.card.name, reason=said, predicted_ms=round(decision.p95_ms, 3))
        return decision

    async def _run_loaded(
        self, pictures: list[Picture], headers: list[ImageHeader], decision: Decision, ask: Ask, until_s: float
    ) -> Served:
        """As `_run`, with the model kept in memory, or brought there first, until `until_s`."""
        for last in (False, True):
            try:
                async with self.fleet.in_use(decision.card, until_s):
                    return await self._run(pictures, headers, decision, ask)
            except ModelUnavailable:
                # Gone since the last look: with a memory budget it is loaded again, once.
                self.fleet.model_lost(decision.card.name)
                if last:
                    raise
        raise AssertionError("not reached")

    def _wait_until_s(self, decision: Decision, ask: Ask) -> float:
        """Until when a model that is being loaded is waited for: its deadline, if no other one is there instead.

        If there is, then only while that could still answer, and not much longer than the load should take: all who
        wait for it would turn to the other one in the same moment.
        """
        stand_in_ms = decision.stand_in_ms() if decision.cold and ask.model is None else None
        if stand_in_ms is None:
            return ask.deadline_s
        patience_s = max(_LEAST_PATIENCE_S, _PATIENCE_FACTOR * self.fleet.load_s(decision.card))
        last_moment_s = ask.deadline_s - (stand_in_ms * _STAND_IN_FACTOR + _STAND_IN_SLACK_MS) / 1e3
        return min(last_moment_s, time.monotonic() + patience_s)

    async def _run(self, pictures: list[Picture], headers: list[ImageHeader], decision: Decision, ask: Ask) -> Served:
        announced = [self.execution.announce(decision.card, ask) for _ in pictures]
        try:
            if len(pictures) > 1:
                return Served(decision, await self._run_all(pictures, headers, decision, ask, announced))
            first = first_model(decision, self.fleet.loaded) if ask.strategy == "cascade" else None
            if first is not None and self._trusted(first):
                return await self._run_cascade(pictures[0], headers[0], decision, ask, first)
            return await self._run_one(pictures[0], headers[0], decision, ask, announced[0])
        finally:
            for arrived in announced:
                arrived()

    async def _run_all(
        self,
        pictures: list[Picture],
        headers: list[ImageHeader],
        decision: Decision,
        ask: Ask,
        announced: list[Callable[[], None]],
    ) -> list[Inferred]:
        """Each picture on its own: whether pictures share a run is the engine's business."""
        tasks: list[asyncio.Task[Inferred]] = []
        try:
            async with asyncio.TaskGroup() as group:
                for picture, header, arrived in zip(pictures, headers, announced, strict=True):
                    work = self.execution.run(picture, header, decision.card, ask, arrived)
                    tasks.append(group.create_task(work))
        except* Exception as failed:
            # The first failure cancelled the others; it alone is what the client can act on.
            raise failed.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _run_one(
        self, picture: Picture, header: ImageHeader, decision: Decision, ask: Ask, arrived: Callable[[], None]
    ) -> Served:
        """The chosen model's answer; if it is about to be late, whichever of it and the fastest model's comes."""
        self.hedges.earn()
        chosen = self.execution.run(picture, header, decision.card, ask, arrived)
        plan = None if ask.keep_late else plan_hedge(decision)
        if plan is None or not self._trusted(plan.card):
            return Served(decision, [await chosen])
        wait_s = max(0.0, plan.fire_at_ms - ask.spent_ms()) / 1e3
        hedge_card = plan.card
        inferred, hedged = await with_hedge(
            chosen, lambda: self._run_beside(picture, header, hedge_card, ask), wait_s, self.hedges
        )
        if hedged:
            self.metrics.hedges.labels("lost" if inferred.card is decision.card else "won").inc()
        return Served(decision, [inferred], hedged)

    async def _run_cascade(
        self, picture: Picture, header: ImageHeader, decision: Decision, ask: Ask, first: ModelCard
    ) -> Served:
        sooner = replace(ask, budget_ms=ask.budget_ms - FALL_BACK_MS)
        inferred, outcome = await run_cascade(
            self._run_beside(picture, header, first, ask),
            lambda: self.execution.run(picture, header, decision.card, sooner),
            self.cascade_confidence,
        )
        self.metrics.cascades.labels(outcome).inc()
        return Served(decision, [inferred], cascade=outcome)

    async def _run_beside(self, picture: Picture, header: ImageHeader, card: ModelCard, ask: Ask) -> Inferred:
        """On a model other than the chosen one, if it is still in memory; it stays there until it has answered."""
        if not self.fleet.loaded(card):
            raise ModelUnavailable(f"{card.name} is not loaded any more")
        async with self.fleet.in_use(card, ask.deadline_s):
            return await self.execution.run(picture, header, card, ask)

    def _trusted(self, card: ModelCard) -> bool:
        return self.fleet.circuit(card) == "closed"

    def _learn(self, served: Served, ask: Ask) -> None:
        took_ms = ask.spent_ms()
        ran = not served.decision.cold and not any(picture.cached for picture in served.pictures)
        if served.cascade is None and ran:  # of a load, or of what was kept, predictions of runs learn nothing
            if served.card is served.decision.card:
                # What idle cores saved is no promise to those who come when there are none.
                saved_ms = max(picture.saved_ms for picture in served.pictures)
                # Pictures that ran beside each other cannot be told from pictures that waited for each other.
                worked_ms = served.pictures[0].worked_ms if len(served.pictures) == 1 else None
                self.observe(served.decision, ask, took_ms + saved_ms, worked_ms, late=took_ms > ask.budget_ms)
            else:
                self.learn_miss(served.decision, ask)
        if took_ms > ask.budget_ms and not ask.keep_late:
            raise DeadlineExceeded(f"the answer came after {took_ms:.0f} ms; the budget was {ask.budget_ms:g} ms")

    def learn_miss(self, decision: Decision, ask: Ask) -> None:
        """Tells the predictor of a request that was not answered in time."""
        # How long it would have taken is unknown, but it was longer than promised, where a promise was made.
        if decision.p95_ms <= ask.budget_ms and not decision.cold:
            self.observe(decision, ask, max(ask.spent_ms(), decision.p95_ms * 1.01), None, late=True)

    def observe(self, decision: Decision, ask: Ask, took_ms: float, worked_ms: float | None, *, late: bool) -> None:
        """Tells the predictor how long a request took in the end, and how much of it was work, if that is known."""
        self.predictor.observe_request(decision.promise, took_ms=took_ms, worked_ms=worked_ms, late=late)
        self.metrics.prediction_ratio.labels(decision.card.name).observe(took_ms / decision.p95_ms)
        self.metrics.prediction_coverage.set(self.predictor.coverage() or 0.0)
        self.metrics.headroom.set(decision.estimates.headroom)

    @contextmanager
    def permit(self, client: str) -> Iterator[None]:
        """One of the places for admitted requests, which clients share. Raises Overloaded, OverFairShare."""
        if not self.permits.take(client):
            held = self.permits.held(client)
            most = self.permits.presses(client)
            if most is not None:
                raise OverFairShare(
                    f"{held} requests of yours are in flight already, and others wait behind them",
                    limit=f"{most} of one client while others wait",
                )
            raise Overloaded(
                f"{self.in_flight} requests are in flight already, {held} of them yours",
                limit=f"{self.permits.limit} requests in flight",
            )
        self.metrics.in_flight.set(self.in_flight)
        try:
            yield
        except (DeadlineInfeasible, DeadlineExceeded):
            self.permits.missed(client)
            raise
        finally:
            self.permits.give(client)
            self.metrics.in_flight.set(self.in_flight)
