"""Budget → model. Pure: numbers in, a choice or a refusal out; one table look-up, no optimiser.

feasible  p95 ≤ 90 % of what remains of the budget, accuracy ≥ the floor asked for, and its run fits before the
          admitted work that would otherwise become late
chosen    the most accurate feasible one; within 0.3 points of it, the cheapest
held      a better model than the last one must have been feasible a few times in a row: no flapping
degraded  nothing is feasible: the fastest that would typically still make it
refused   not even that: now (503, come back), or ever (422, the budget is below any model's unloaded time)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from service.latency import Estimates, Floats, Variants

HEADROOM = 0.10
ACCURACY_BAND = 0.3
STEP_UP_AFTER = 3
# Share of the remaining budget that a request of each priority may spend waiting for others.
WAIT_SHARE = {1: 1.0, 2: 0.8, 3: 0.4}

Reason = Literal["most-accurate", "within-budget", "cheaper-equal", "held", "degraded", "pinned"]
RefusalKind = Literal["budget-unsatisfiable", "accuracy-unsatisfiable", "deadline-infeasible"]


@dataclass(frozen=True, slots=True)
class Demand:
    """What the request asks for. budget_ms counts from its headers; min_accuracy is in percent; priority is 1..3."""

    budget_ms: float
    min_accuracy: float | None = None
    degrade: bool = True
    priority: int = 2


@dataclass(frozen=True, slots=True)
class Choice:
    index: int
    reason: Reason

    @property
    def degraded(self) -> bool:
        return self.reason == "degraded"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing was chosen. fastest_ms: what the fastest would typically take; now, or unloaded if it never fits."""

    kind: RefusalKind
    fastest_ms: float
    retry_after_s: float = 0.0


class Steadiness:
    """Remembers the last choice for one kind of demand: steps down at once, up after STEP_UP_AFTER feasible ones."""

    def __init__(self) -> None:
        self._current: str | None = None
        self._better_in_a_row = 0

    def settle(self, variants: Variants, feasible: np.ndarray[tuple[int], np.dtype[np.bool_]], wanted: int) -> int:
        """The index to use when `wanted` would be chosen: itself, or the one held on to a little longer."""
        current = variants.names.index(self._current) if self._current in variants.names else None
        steps_up = current is not None and variants.accuracy[wanted] > variants.accuracy[current] + ACCURACY_BAND
        self._better_in_a_row = self._better_in_a_row + 1 if steps_up else 0
        if current is not None and steps_up and feasible[current] and self._better_in_a_row < STEP_UP_AFTER:
            return current
        self._current = variants.names[wanted]
        self._better_in_a_row = 0
        return wanted


def choose(
    variants: Variants, estimates: Estimates, demand: Demand, *, room_ms: float, steadiness: Steadiness
) -> Choice | Refusal:
    """The variant to use, or why there is none. `variants` must not be empty.

    room_ms  processor time that may go first without making admitted requests late
    """
    accurate = np.ones(len(variants.cards), dtype=bool)
    if demand.min_accuracy is not None:
        accurate = variants.accuracy >= demand.min_accuracy
        if not accurate.any():
            return Refusal("accuracy-unsatisfiable", float(estimates.unloaded_ms.min()))
    in_time = estimates.p95_ms <= estimates.spent_ms + (demand.budget_ms - estimates.spent_ms) * (1.0 - HEADROOM)
    feasible = accurate & in_time & (estimates.work_ms <= room_ms)
    if _waits_too_long(estimates, demand):
        feasible[:] = False
    if not feasible.any():
        return _fall_back(estimates, demand, accurate, room_ms)
    best = int(feasible.argmax())  # variants are sorted: the first feasible one is the most accurate
    equal = feasible & (variants.accuracy >= variants.accuracy[best] - ACCURACY_BAND)
    wanted = int(np.where(equal, estimates.run_ms, np.inf).argmin())
    index = steadiness.settle(variants, feasible, wanted)
    if index != wanted:
        return Choice(index, "held")
    if wanted != best:
        return Choice(index, "cheaper-equal")
    return Choice(index, "most-accurate" if best == int(accurate.argmax()) else "within-budget")


def admit_pinned(estimates: Estimates, index: int, demand: Demand) -> Choice | Refusal:
    """The model the client named, unless it cannot make it: the choice is skipped, admission is not."""
    if estimates.p50_ms[index] <= demand.budget_ms and not _waits_too_long(estimates, demand):
        return Choice(index, "pinned")
    return _refusal(estimates, demand, float(estimates.unloaded_ms[index]), float(estimates.p50_ms[index]))


def _waits_too_long(estimates: Estimates, demand: Demand) -> bool:
    share = WAIT_SHARE[demand.priority]
    return estimates.wait_ms > share * (demand.budget_ms - estimates.spent_ms)


def _fall_back(
    estimates: Estimates, demand: Demand, accurate: np.ndarray[tuple[int], np.dtype[np.bool_]], room_ms: float
) -> Choice | Refusal:
    p50_ms: Floats = np.where(accurate & (estimates.work_ms <= room_ms), estimates.p50_ms, np.inf)
    fastest = int(p50_ms.argmin())
    if demand.degrade and p50_ms[fastest] <= demand.budget_ms and not _waits_too_long(estimates, demand):
        return Choice(fastest, "degraded")
    unloaded_ms = float(np.where(accurate, estimates.unloaded_ms, np.inf).min())
    loaded_ms = float(np.where(accurate, estimates.p50_ms, np.inf).min())
    return _refusal(estimates, demand, unloaded_ms, loaded_ms)


def _refusal(estimates: Estimates, demand: Demand, unloaded_ms: float, loaded_ms: float) -> Refusal:
    if unloaded_ms > demand.budget_ms:
        return Refusal("budget-unsatisfiable", unloaded_ms)
    # The queue drains as fast as the clock runs: what is too long by x ms now fits in x ms, if nobody else comes.
    allowed_wait_ms = WAIT_SHARE[demand.priority] * max(0.0, demand.budget_ms - unloaded_ms)
    too_long_ms = max(loaded_ms - demand.budget_ms, estimates.wait_ms - allowed_wait_ms, 1.0)
    return Refusal("deadline-infeasible", loaded_ms, retry_after_s=too_long_ms / 1e3)
