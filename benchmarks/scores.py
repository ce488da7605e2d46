"""What came of each request, and what a run of them is worth: the same sums for the simulation and the real server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request, seen from the client.

    status      200; 503 shed, 422 never possible, 504 admitted and missed; 0 no answer at all
    latency_ms  from the intended send time to the answer, whatever it said
    model, accuracy  of the model that answered, published, in percent; "" and 0 without an answer
    correct     whether its first guess is right; None where it is not known
    wasted_ms   processor time of work that came to nothing, where it is known
    late_ms     how much later than intended the client really sent it
    """

    status: int
    latency_ms: float
    budget_ms: float
    model: str = ""
    accuracy: float = 0.0
    correct: bool | None = None
    wasted_ms: float = 0.0
    late_ms: float = 0.0

    @property
    def in_time(self) -> bool:
        return self.status == 200 and self.latency_ms <= self.budget_ms

    @property
    def admitted(self) -> bool:
        return self.status in (200, 504, 0)


@dataclass(frozen=True, slots=True)
class Score:
    """One cell of the benchmark. Shares and accuracies in percent; `top1` is measured, over all offered.

    shed_p50_ms, shed_p99_ms  from when a request was really sent to its refusal
    """

    offered: int
    offered_per_s: float
    in_time_of_offered: float
    in_time_of_admitted: float
    effective_accuracy: float
    top1: float | None
    goodput_per_s: float
    shed: int
    missed: int
    unanswered: int
    shed_p50_ms: float | None
    shed_p99_ms: float | None
    p50_ms: float | None
    p99_ms: float | None
    wasted_ms_per_s: float
    models: dict[str, float]

    def flat(self) -> dict[str, object]:
        """As one row of a table; the models as `name:percent` of what was offered."""
        return {**asdict(self), "models": " ".join(f"{name}:{share:.0f}" for name, share in self.models.items())}


def score(outcomes: Sequence[Outcome], duration_s: float) -> Score:
    offered = len(outcomes)
    admitted = [o for o in outcomes if o.admitted]
    in_time = [o for o in outcomes if o.in_time]
    shed = [o.latency_ms - o.late_ms for o in outcomes if o.status in (503, 422)]
    answered = [o.latency_ms for o in outcomes if o.status == 200]
    names = sorted({o.model for o in in_time})
    known = [o for o in outcomes if o.correct is not None]
    return Score(
        offered=offered,
        offered_per_s=round(offered / duration_s, 2),
        in_time_of_offered=_percent(len(in_time), offered),
        in_time_of_admitted=_percent(len(in_time), len(admitted)),
        effective_accuracy=round(sum(o.accuracy for o in in_time) / offered, 2),
        top1=_percent(sum(bool(o.correct) and o.in_time for o in known), offered) if known else None,
        goodput_per_s=round(len(in_time) / duration_s, 2),
        shed=len(shed),
        missed=sum(o.status == 504 or (o.status == 200 and not o.in_time) for o in outcomes),
        unanswered=sum(o.status not in (200, 422, 503, 504) for o in outcomes),
        shed_p50_ms=_percentile(shed, 50),
        shed_p99_ms=_percentile(shed, 99),
        p50_ms=_percentile(answered, 50),
        p99_ms=_percentile(answered, 99),
        wasted_ms_per_s=round(sum(o.wasted_ms for o in outcomes) / duration_s, 2),
        models={name: _percent(sum(o.model == name for o in in_time), offered) for name in names},
    )


def _percent(part: int, whole: int) -> float:
    return round(100.0 * part / whole, 2) if whole else 100.0


def _percentile(numbers: list[float], percent: float) -> float | None:
    return round(float(np.percentile(numbers, percent)), 2) if numbers else None
