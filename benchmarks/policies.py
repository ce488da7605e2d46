"""Who decides, in the simulation. All but the clairvoyant ones are made of the gateway's own parts.

fixed    one model, named by the client; admission is the gateway's
random   the client names any model; admission is the gateway's
static   the most accurate model whose export profile fits the budget: no queue, no live correction (as INFaaS selects)
ours     what service/decision.py does: predictor, backlog, pressure, choice, steadiness
greedy   the same without pressure: always the most accurate model that makes it
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from benchmarks.fleets import Fleet
from service.image_header import ImageHeader
from service.latency import Estimates, Predictor, octave
from service.routing import Choice, Demand, Pressure, Refusal, Steadiness, admit_pinned, choose, fullness
from service.variants import Variants


@dataclass(frozen=True, slots=True)
class Situation:
    """All that a policy may know when a request arrives."""

    now_s: float
    header: ImageHeader
    budget_ms: float
    spent_ms: float
    wait_s: float
    room_s: float


@dataclass(frozen=True, slots=True)
class Decided:
    """model: index into the fleet's cards     at: index into what `estimates` are of"""

    model: int
    at: int
    estimates: Estimates

    @property
    def p95_ms(self) -> float:
        return float(self.estimates.p95_ms[self.at])


class Policy(Protocol):
    """Decides, or refuses with None."""

    name: str

    def decide(self, situation: Situation, predictor: Predictor) -> Decided | None: ...


class Pinned:
    """The client names a model: the same one always, or any."""

    def __init__(self, fleet: Fleet, name: str, models: list[int], seed: int = 0) -> None:
        self.name = name
        self._models = models
        self._variants = [Variants([card]) for card in fleet.cards]
        self._dice = np.random.default_rng([seed, 2])

    def decide(self, situation: Situation, predictor: Predictor) -> Decided | None:
        model = self._models[int(self._dice.integers(len(self._models)))]
        estimates = estimate(predictor, self._variants[model], situation)
        choice = admit_pinned(estimates, 0, Demand(situation.budget_ms), room_ms=situation.room_s * 1e3)
        return None if isinstance(choice, Refusal) else Decided(model, 0, estimates)


class Static:
    """The profile as the exporter wrote it, and nothing of what goes on."""

    name = "static-profile"

    def __init__(self, fleet: Fleet) -> None:
        self._variants = Variants(fleet.cards)
        self._never_told = Predictor(fleet.workers)

    def decide(self, situation: Situation, predictor: Predictor) -> Decided | None:
        estimates = self._never_told.estimate(
            self._variants, [situation.header], spent_ms=0.0, wait_ms=0.0, wait_ms_by_model={}
        )
        demand = Demand(situation.budget_ms)
        choice = choose(self._variants, estimates, demand, room_ms=math.inf, steadiness=Steadiness())
        return None if isinstance(choice, Refusal) else Decided(choice.index, choice.index, estimates)


class Ours:
    """The gateway's router, with the last choice of a tier remembered."""

    def __init__(self, fleet: Fleet, *, prices: bool = True) -> None:
        self.name = "ours" if prices else "ours-greedy"
        self._prices = prices
        self._variants = Variants(fleet.cards)
        self._steadiness = Steadiness()
        self._pressure: dict[int, Pressure] = {}

    def decide(self, situation: Situation, predictor: Predictor) -> Decided | None:
        demand, now_s = Demand(situation.budget_ms), situation.now_s
        estimates = estimate(predictor, self._variants, situation)
        full = fullness(estimates, demand)
        pressure = self._pressure.setdefault(octave(demand.budget_ms), Pressure())
        choice: Choice | Refusal = choose(
            self._variants,
            estimates,
            demand,
            room_ms=situation.room_s * 1e3,
            steadiness=self._steadiness,
            pressure=pressure.at(full, now_s) if self._prices else 0.0,
        )
        pressure.told(full, now_s, refused=isinstance(choice, Refusal))
        return None if isinstance(choice, Refusal) else Decided(choice.index, choice.index, estimates)


def estimate(predictor: Predictor, variants: Variants, situation: Situation) -> Estimates:
    return predictor.estimate(
        variants,
        [situation.header],
        spent_ms=situation.spent_ms,
        wait_ms=situation.wait_s * 1e3,
        wait_ms_by_model={},
        budget_ms=situation.budget_ms,
    )


def fixed(fleet: Fleet, model: int) -> Pinned:
    return Pinned(fleet, fleet.cards[model].name, [model])


def any_model(fleet: Fleet, seed: int = 0) -> Pinned:
    return Pinned(fleet, "random", list(range(len(fleet.cards))), seed)
