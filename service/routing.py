"""Budget → model. Pure: numbers in, a choice or a refusal out; one table look-up, no optimiser.

feasible  p95 ≤ what remains of the budget less the headroom (service/headroom.py), accuracy ≥ the floor asked for,
          and its run fits before the admitted work that would otherwise become late
chosen    the most accurate feasible one, less what its work is likely to cost those who come later (Pressure); within
          0.3 points of it, the cheapest
held      a better model than the last one must have been feasible a few times in a row: no flapping
avoided   a model whose circuit is open (service/circuits.py) is not feasible as long as another one would do
degraded  nothing is feasible: the fastest, if it will still make it
refused   not even that: now (503, come back), or ever (422, the budget is below any model's unloaded time)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from service.latency import Estimates
from service.tracked import Floats
from service.variants import Variants

Flags = NDArray[np.bool_]

# The most important requests may be admitted closer to the edge: they are the last to be shed.
HEADROOM_OF_PRIORITY = {1: 0.2, 2: 1.0, 3: 1.0}
ACCURACY_BAND = 0.3
STEP_UP_AFTER = 3
# Share of the remaining budget that a request of each priority may spend waiting for others.
WAIT_SHARE = {1: 1.0, 2: 0.9, 3: 0.4}

Reason = Literal["most-accurate", "within-budget", "cheaper-equal", "held", "circuit-open", "degraded", "pinned"]
RefusalKind = Literal["budget-unsatisfiable", "accuracy-unsatisfiable", "deadline-infeasible", "model-loading"]


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
    """Why nothing was chosen. fastest_ms: what the fastest may take now (p95), or unloaded if it never fits.

    loading  the model that would be chosen once it is loaded; only with kind model-loading
    """

    kind: RefusalKind
    fastest_ms: float
    retry_after_s: float = 0.0
    loading: str = ""


class Steadiness:
    """Remembers the last choice for one kind of demand: steps down at once, up after STEP_UP_AFTER feasible ones."""

    def __init__(self) -> None:
        self._current: str | None = None
        self._better_in_a_row = 0

    def settle(self, variants: Variants, feasible: Flags, wanted: int) -> int:
        """The index to use when `wanted` would be chosen: itself, or the one held on to a little longer."""
        current = variants.names.index(self._current) if self._current in variants.names else None
        steps_up = current is not None and variants.accuracy[wanted] > variants.accuracy[current] + ACCURACY_BAND
        self._better_in_a_row = self._better_in_a_row + 1 if steps_up else 0
        if current is not None and steps_up and feasible[current] and self._better_in_a_row < STEP_UP_AFTER:
            return current
        self._current = variants.names[wanted]
        self._better_in_a_row = 0
        return wanted


class Pressure:
    """How likely work that is taken on now costs a later request its answer: learnt, by how full the queue is.

    Every choice is remembered until it is known what a little more work would have done: nothing, if the queue ran
    empty first; one answer less, if a request was refused first. The running share of the latter is the probability. A
    burst is thus met with small models from its first picture on, once bursts are known to come. A busy spell counts
    once for each fullness it went through, however many requests it had: they all share its end. While nobody comes,
    what was learnt fades, so that a machine at peace is not mean for long.
    Source: infinitesimal perturbation analysis of a queue (Ho and Cao 1983), used as a bid price (Talluri and van Ryzin
    1998).
    """

    _FULLNESSES = 5
    _STEP = 0.1
    _FADES_IN_S = 10.0

    def __init__(self) -> None:
        self._probability = [0.0] * self._FULLNESSES
        self._undecided: set[int] = set()
        self._told_s = 0.0

    def at(self, fullness: float, now_s: float) -> float:
        """The probability when that share of the budget goes by in waiting; `now_s` is the caller's clock."""
        return self._probability[self._row(fullness)] * self._faded(now_s)

    def told(self, fullness: float, now_s: float, *, refused: bool) -> None:
        """Called once a request, after its choice."""
        faded = self._faded(now_s)
        self._probability = [probability * faded for probability in self._probability]
        self._told_s = now_s
        if fullness < 1e-3:
            self._settle(0.0)
        self._undecided.add(self._row(fullness))
        if refused:
            self._settle(1.0)

    def _settle(self, outcome: float) -> None:
        for row in self._undecided:
            self._probability[row] += self._STEP * (outcome - self._probability[row])
        self._undecided.clear()

    def _faded(self, now_s: float) -> float:
        return math.exp(-max(0.0, now_s - self._told_s) / self._FADES_IN_S)

    def _row(self, fullness: float) -> int:
        return min(self._FULLNESSES - 1, int(fullness * self._FULLNESSES))


def fullness(estimates: Estimates, demand: Demand) -> float:
    """The share of the remaining budget, 0..1, that even the fastest would spend waiting for others."""
    fastest = int(estimates.unloaded_ms.argmin())
    wait_ms = float(estimates.p50_ms[fastest] - estimates.unloaded_ms[fastest]) - estimates.spent_ms
    return min(1.0, max(0.0, wait_ms) / max(1e-3, demand.budget_ms - estimates.spent_ms))


def choose(
    variants: Variants,
    estimates: Estimates,
    demand: Demand,
    *,
    room_ms: float,
    steadiness: Steadiness,
    pressure: float = 0.0,
    well: Flags | None = None,
) -> Choice | Refusal:
    """The variant to use, or why there is none. `variants` must not be empty.

    room_ms   how much later admitted work may begin, by what goes first, without being late
    pressure  probability that work taken on now costs a later request its answer, 0..1
    well      (V,) false for those that fail time after time; where all that are accurate enough do, it changes nothing
    """
    accurate = variants.all_of_them
    if demand.min_accuracy is not None:
        accurate = variants.accuracy >= demand.min_accuracy
        if not accurate.any():
            return Refusal("accuracy-unsatisfiable", float(estimates.unloaded_ms.min()))
    trusted = accurate if well is None or not (accurate & well).any() else accurate & well
    if _waits_too_long(estimates, demand):
        return _fall_back(estimates, demand, accurate, trusted, room_ms)
    fits = _in_time(estimates, demand) & accurate
    if math.isfinite(room_ms):
        fits &= estimates.alone_ms <= room_ms
    feasible = fits if trusted is accurate else fits & trusted
    if not feasible.any():
        return _fall_back(estimates, demand, accurate, trusted, room_ms)
    worth_of_all = _worth(variants, estimates, trusted, pressure)
    worth = np.where(feasible, worth_of_all, -np.inf)
    best = int(worth.argmax())  # variants are sorted: of equals the first is the most accurate
    equal = feasible & (worth >= worth[best] - ACCURACY_BAND)
    wanted = int(np.where(equal, estimates.run_ms, np.inf).argmin())
    index = steadiness.settle(variants, feasible, wanted)
    if index != wanted:
        return Choice(index, "held")
    if trusted is not accurate and (worth_of_all[fits & ~trusted] > worth[best] + ACCURACY_BAND).any():
        return Choice(index, "circuit-open")
    if wanted != best:
        return Choice(index, "cheaper-equal")
    return Choice(index, "most-accurate" if best == int(accurate.argmax()) else "within-budget")


def _worth(variants: Variants, estimates: Estimates, accurate: Flags, pressure: float) -> Floats:
    """Accuracy, less what the work beyond the fastest model's is likely to cost: answers that it would have given."""
    fastest = int(np.where(accurate, estimates.work_ms, np.inf).argmin())
    if pressure == 0.0 or not math.isfinite(variants.accuracy[fastest]):
        return variants.accuracy
    answers = (estimates.work_ms - estimates.work_ms[fastest]) / max(1e-3, float(estimates.work_ms[fastest]))
    worth: Floats = variants.accuracy - pressure * variants.accuracy[fastest] * answers
    return worth


def admit_pinned(estimates: Estimates, index: int, demand: Demand, *, room_ms: float) -> Choice | Refusal:
    """The model the client named, unless it cannot make it: the choice is skipped, admission is not."""
    fits = estimates.alone_ms[index] <= room_ms and _will_make_it(estimates, demand)[index]
    if fits and not _waits_too_long(estimates, demand):
        return Choice(index, "pinned")
    return _refusal(estimates, demand, float(estimates.unloaded_ms[index]), float(estimates.p95_ms[index]))


def _will_make_it(estimates: Estimates, demand: Demand) -> Flags:
    """(V,) true if the answer comes in time with headroom; on an idle machine, where nobody else suffers, typically."""
    idle = estimates.p50_ms - estimates.spent_ms <= estimates.unloaded_ms * 1.1
    makes_it: Flags = _in_time(estimates, demand) | (idle & (estimates.p50_ms <= demand.budget_ms))
    return makes_it


def _in_time(estimates: Estimates, demand: Demand) -> Flags:
    in_time: Flags = estimates.p95_ms <= usable_ms(estimates, demand)
    return in_time


def usable_ms(estimates: Estimates, demand: Demand) -> float:
    """What a prediction may come to, from the request's headers on, if the request is to be admitted."""
    headroom = estimates.headroom * HEADROOM_OF_PRIORITY[demand.priority]
    return estimates.spent_ms + (demand.budget_ms - estimates.spent_ms) * (1.0 - headroom)


def _waits_too_long(estimates: Estimates, demand: Demand) -> bool:
    share = WAIT_SHARE[demand.priority]
    return estimates.wait_ms > share * (demand.budget_ms - estimates.spent_ms)


def _fall_back(
    estimates: Estimates, demand: Demand, accurate: Flags, trusted: Flags, room_ms: float
) -> Choice | Refusal:
    # The fastest or nobody: on a machine that is nearly idle a slow model's wait is small beside its own time, so that
    # it alone would count as idle, and everybody were given the one that takes longest.
    fastest = int(np.where(trusted, estimates.p50_ms, np.inf).argmin())
    fits = estimates.alone_ms[fastest] <= room_ms and _will_make_it(estimates, demand)[fastest]
    if demand.degrade and fits and not _waits_too_long(estimates, demand):
        return Choice(fastest, "degraded")
    unloaded_ms = float(np.where(accurate, estimates.unloaded_ms, np.inf).min())
    loaded_ms = float(np.where(trusted, estimates.p95_ms, np.inf).min())
    return _refusal(estimates, demand, unloaded_ms, loaded_ms)


def _refusal(estimates: Estimates, demand: Demand, unloaded_ms: float, loaded_ms: float) -> Refusal:
    # Never is said only of what would be too long for whoever goes before all others.
    least_ms = unloaded_ms - estimates.overtaken_ms
    if least_ms > demand.budget_ms:
        return Refusal("budget-unsatisfiable", least_ms)
    # The queue drains as fast as the clock runs: what is too long by x ms now fits in x ms, if nobody else comes.
    allowed_wait_ms = WAIT_SHARE[demand.priority] * max(0.0, demand.budget_ms - unloaded_ms)
    too_long_ms = max(loaded_ms - demand.budget_ms, estimates.wait_ms - allowed_wait_ms, 1.0)
    return Refusal("deadline-infeasible", loaded_ms, retry_after_s=too_long_ms / 1e3)
