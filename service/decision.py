"""A request's headers and wishes → the variant that will answer, or the refusal as the error it is."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from service.ask import Ask, TierLabel
from service.engines.protocol import Engine
from service.errors import AccuracyUnsatisfiable, BudgetUnsatisfiable, DeadlineInfeasible, ModelLoading, VisionError
from service.fleet import Fleet
from service.image_header import ImageHeader
from service.latency import Estimates, Predictor, Promise, octave
from service.manifest import ModelCard, SegmentKind, Task
from service.metrics import Metrics
from service.routing import Choice, Demand, Pressure, Refusal, Steadiness, admit_pinned, choose, fullness
from service.variants import Variants

_A_DOT = ImageHeader("jpeg", 1, 1)
# How often an idle machine may try what it has learnt to refuse.
_TRIAL_EVERY_S = 0.2

Looked = tuple[Variants, Estimates, Choice | Refusal]


@dataclass(frozen=True, slots=True)
class Decision:
    """The chosen variant, and everything that was known when it was chosen. `cold`: it has to be loaded first."""

    variants: Variants
    estimates: Estimates
    choice: Choice
    demand: Demand
    cold: bool = False

    @property
    def card(self) -> ModelCard:
        return self.variants.cards[self.choice.index]

    @property
    def p95_ms(self) -> float:
        return float(self.estimates.p95_ms[self.choice.index])

    def stand_in_ms(self) -> float | None:
        """What the fastest of the other models that would do needs from its choice on; None: there is none."""
        allowed = np.arange(len(self.variants.cards)) != self.choice.index
        if self.demand.min_accuracy is not None:
            allowed &= self.variants.accuracy >= self.demand.min_accuracy
        fastest_ms = float(np.where(allowed, self.estimates.p95_ms, np.inf).min())
        return fastest_ms - self.estimates.spent_ms if fastest_ms < math.inf else None

    @property
    def promise(self) -> Promise:
        return self.estimates.promise(self.choice.index)


class Chooser:
    """Looks at the fleet, the engine's load and the predictor; remembers the last choice of every tier."""

    def __init__(self, engine: Engine, fleet: Fleet, predictor: Predictor, metrics: Metrics) -> None:
        self._engine = engine
        self._fleet = fleet
        self._predictor = predictor
        self._metrics = metrics
        self._untold = Predictor()
        self._admitted_s = -math.inf
        self._pressure: dict[tuple[Task, SegmentKind | None, int], Pressure] = {}
        self._steadiness: dict[tuple[Task, SegmentKind | None, TierLabel], Steadiness] = {}

    def decide(self, headers: list[ImageHeader], ask: Ask, without: frozenset[str] = frozenset()) -> Decision:
        """The variant that will answer: not one of `without`, as long as there is another.

        Raises the refusal as the error it is, and whatever the fleet lacks.
        """
        started_s = time.perf_counter()
        variants, estimates, choice = self._look(
            headers, ask, self._steadiness_for(ask), wish=self._fleet.wish, without=without
        )
        if isinstance(choice, Refusal):
            choice = self._trial(variants, estimates, headers, ask) or choice
        else:
            self._admitted_s = time.monotonic()
        cold = isinstance(choice, Choice) and not self._fleet.loaded(variants.cards[choice.index])
        if ask.model is None and not cold:
            refused = isinstance(choice, Refusal) and choice.kind == "deadline-infeasible"
            full = fullness(estimates, demand_of(ask))
            self._pressure_for(ask).told(full, time.monotonic(), refused=refused)
        self._metrics.decision_duration.observe(time.perf_counter() - started_s)
        if isinstance(choice, Refusal):
            if choice.loading:
                self._fleet.fetch(choice.loading)
            raise refusal_error(choice, ask)
        decision = Decision(variants, estimates, choice, demand_of(ask), cold)
        self._metrics.decisions.labels(ask.tier, decision.card.name, choice.reason).inc()
        return decision

    def refuse_early(self, ask: Ask) -> None:
        """Raises DeadlineInfeasible if even the smallest picture would come too late: before the real one is here."""
        _, estimates, choice = self.look([_A_DOT], ask)
        if isinstance(choice, Refusal) and choice.kind == "deadline-infeasible":
            if ask.model is None:
                full = fullness(estimates, demand_of(ask))
                self._pressure_for(ask).told(full, time.monotonic(), refused=True)
            raise refusal_error(choice, ask)

    def look(self, headers: list[ImageHeader], ask: Ask) -> Looked:
        """Every candidate with what it would take now, and the choice: nothing is run, nothing remembered."""
        return self._look(headers, ask, Steadiness(), wish=lambda card: None)

    def _trial(self, variants: Variants, estimates: Estimates, headers: list[ImageHeader], ask: Ask) -> Choice | None:
        """The fastest, now and then, if the machine is idle and by its profile the model would be in time.

        Who refuses everybody learns nothing: a bad minute would be remembered for ever. Nobody waits for the trial.
        """
        now_s = time.monotonic()
        if not ask.degrade or estimates.wait_ms > 0.0 or now_s - self._admitted_s < _TRIAL_EVERY_S:
            return None
        fresh = self._untold.estimate(
            variants, headers, spent_ms=ask.spent_ms(), wait_ms=0.0, wait_ms_by_model={}, post=ask.post
        )
        in_time = fresh.p50_ms <= ask.budget_ms
        if ask.min_accuracy is not None:
            in_time &= variants.accuracy >= ask.min_accuracy
        fastest = int(np.where(in_time, fresh.p50_ms, np.inf).argmin())
        if not in_time[fastest] or not self._fleet.loaded(variants.cards[fastest]):
            return None
        self._admitted_s = now_s
        return Choice(fastest, "degraded")

    def _steadiness_for(self, ask: Ask) -> Steadiness:
        # Only a tier without further wishes is common enough to have a last choice worth holding on to.
        if ask.tier == "custom" or ask.model is not None or ask.min_accuracy is not None:
            return Steadiness()
        return self._steadiness.setdefault((ask.task, ask.kind, ask.tier), Steadiness())

    def _pressure_for(self, ask: Ask) -> Pressure:
        # Work is done in the order of deadlines: those who wait about as long stand in each other's way.
        return self._pressure.setdefault((ask.task, ask.kind, octave(ask.budget_ms)), Pressure())

    def _look(
        self,
        headers: list[ImageHeader],
        ask: Ask,
        steadiness: Steadiness,
        wish: Callable[[ModelCard], None],
        without: frozenset[str] = frozenset(),
    ) -> Looked:
        """Of the models in memory the best; or a cold one, if it is better, and there in time once it is loaded.

        wish  is told of a cold model that would be chosen were it in memory
        """
        variants = self._fleet.candidates(ask.model, ask.task, ask.kind, exact=ask.exact)
        resident = self._fleet.resident(variants)
        if resident is variants:
            return self._choose(variants, headers, ask, steadiness, without)
        looked = self._choose(variants, headers, ask, Steadiness(), without)
        if isinstance(looked[2], Refusal):
            return looked if resident is None else self._choose(resident, headers, ask, steadiness, without)
        better = variants.cards[looked[2].index]
        if self._fleet.loaded(better):
            return self._choose(resident or variants, headers, ask, steadiness, without)
        wish(better)
        if resident is not None and not self._fleet.worth_waiting_for(better):
            return self._choose(resident, headers, ask, steadiness, without)
        return self._with_cold(looked, resident, better, headers, ask, without)

    def _with_cold(
        self,
        if_loaded: Looked,
        resident: Variants | None,
        better: ModelCard,
        headers: list[ImageHeader],
        ask: Ask,
        without: frozenset[str],
    ) -> Looked:
        """The choice between what is in memory and one model that is not, and comes as much later."""
        load_s = self._fleet.load_s(better)
        variants = Variants([*(resident.cards if resident else ()), better])
        looked = self._choose(variants, headers, ask, Steadiness(), without, load_s={better.name: load_s})
        if isinstance(looked[2], Refusal) and resident is None:
            loading = Refusal("model-loading", load_s * 1e3, retry_after_s=load_s, loading=better.name)
            return if_loaded[0], if_loaded[1], loading
        return looked

    def _choose(
        self,
        variants: Variants,
        headers: list[ImageHeader],
        ask: Ask,
        steadiness: Steadiness,
        without: frozenset[str],
        load_s: Mapping[str, float] | None = None,
    ) -> Looked:
        """The choice among these, as if all were in memory but those of `load_s`, which first have to be loaded."""
        load = self._engine.load(ask.deadline_s)
        waits_ms = {name: wait_s * 1e3 for name, wait_s in load.wait_s_by_model.items()}
        for name, wait_s in (load_s or {}).items():
            waits_ms[name] = waits_ms.get(name, 0.0) + wait_s * 1e3
        estimates = self._predictor.estimate(
            variants,
            headers,
            spent_ms=ask.spent_ms(),
            wait_ms=load.wait_s * 1e3,
            wait_ms_by_model=waits_ms,
            budget_ms=ask.budget_ms,
            post=ask.post,
        )
        demand = demand_of(ask)
        if ask.model and len(variants.cards) == 1:
            return variants, estimates, admit_pinned(estimates, 0, demand, room_ms=load.room_s * 1e3)
        now_s = time.monotonic()
        choice = choose(
            variants,
            estimates,
            demand,
            room_ms=load.room_s * 1e3,
            steadiness=steadiness,
            pressure=self._pressure_for(ask).at(fullness(estimates, demand), now_s),
            well=self._fleet.circuits.well(variants, now_s, without),
        )
        return variants, estimates, choice


def demand_of(ask: Ask) -> Demand:
    return Demand(ask.budget_ms, ask.min_accuracy, ask.degrade, ask.priority)


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
    if refusal.kind == "model-loading":
        return ModelLoading(
            f"{refusal.loading} is being loaded, which takes about {refusal.fastest_ms:.0f} ms; "
            f"the budget is {ask.budget_ms:g} ms",
            field="model" if ask.model else None,
            retry_after_s=refusal.retry_after_s,
        )
    return DeadlineInfeasible(
        f"the budget is {ask.budget_ms:g} ms; just now the fastest model may take {fastest}",
        limit=f"about {fastest} now",
        retry_after_s=refusal.retry_after_s,
    )
