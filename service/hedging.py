"""The down-tier hedge: at the last moment that is still safe, the fastest model is fired as well."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from service.latency import Estimates, Variants
from service.manifest import ModelCard
from service.routing import Demand

_SLACK_MS = 2.0


@dataclass(frozen=True, slots=True)
class HedgePlan:
    """Fire `card` if the chosen model has not answered `fire_at_ms` after the request's headers."""

    card: ModelCard
    fire_at_ms: float


def plan_hedge(variants: Variants, estimates: Estimates, chosen: int, demand: Demand) -> HedgePlan | None:
    """When to fire the fastest model; None if it is the chosen one, or would not make it after the others' wait."""
    allowed = np.ones(len(variants.cards), dtype=bool)
    if demand.min_accuracy is not None:
        allowed = variants.accuracy >= demand.min_accuracy
    fastest = int(np.where(allowed, estimates.run_ms, np.inf).argmin())
    if fastest == chosen or not allowed[fastest]:
        return None
    takes_ms = float(estimates.p95_ms[fastest]) - estimates.spent_ms
    fire_at_ms = demand.budget_ms - takes_ms - _SLACK_MS
    # Before the chosen model is even typically done there is nothing to make up for.
    return HedgePlan(variants.cards[fastest], fire_at_ms) if fire_at_ms > estimates.p50_ms[chosen] else None


class HedgeBudget:
    """A token bucket: at most `share` of the requests may be hedged, `burst` of them in a row."""

    def __init__(self, share: float, burst: float = 5.0) -> None:
        self._share = share
        self._burst = burst
        self._tokens = burst if share > 0 else 0.0

    def earn(self) -> None:
        """Called once a request."""
        self._tokens = min(self._burst, self._tokens + self._share)

    def spend(self) -> bool:
        """True if a hedge may be fired now."""
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
