"""The down-tier hedge: at the last moment that is still safe, the fastest model is fired as well."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import numpy as np

from service.decision import Decision
from service.execution import Inferred
from service.manifest import ModelCard

_SLACK_MS = 2.0


@dataclass(frozen=True, slots=True)
class HedgePlan:
    """Fire `card` if the chosen model has not answered `fire_at_ms` after the request's headers."""

    card: ModelCard
    fire_at_ms: float


def plan_hedge(decision: Decision) -> HedgePlan | None:
    """When to fire the fastest model; None if it is the chosen one, or would be fired before that is even due."""
    variants, estimates, demand = decision.variants, decision.estimates, decision.demand
    if len(variants.cards) == 1:
        return None
    allowed = np.ones(len(variants.cards), dtype=bool)
    if demand.min_accuracy is not None:
        allowed = variants.accuracy >= demand.min_accuracy
    fastest = int(np.where(allowed, estimates.run_ms, np.inf).argmin())
    if fastest == decision.choice.index or not allowed[fastest]:
        return None
    takes_ms = float(estimates.p95_ms[fastest]) - estimates.spent_ms
    fire_at_ms = demand.budget_ms - takes_ms - _SLACK_MS
    due_ms = float(estimates.p50_ms[decision.choice.index])
    return HedgePlan(variants.cards[fastest], fire_at_ms) if fire_at_ms > due_ms else None


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


async def with_hedge(
    chosen: Awaitable[Inferred], hedge: Callable[[], Awaitable[Inferred]], wait_s: float, budget: HedgeBudget
) -> tuple[Inferred, bool]:
    """The chosen model's answer, or after `wait_s` whichever of it and the hedge's comes first; and if it was fired.

    Raises what the chosen one raised, if no hedge was fired or that failed too.
    """
    first = asyncio.ensure_future(chosen)
    second: asyncio.Future[Inferred] | None = None
    try:
        await asyncio.wait((first,), timeout=wait_s)
        if first.done() or not budget.spend():
            return await first, False
        second = asyncio.ensure_future(hedge())
        return await _first_to_succeed(first, second), True
    finally:
        for task in (first, second):
            if task is not None:
                await _let_go(task)


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
    if not task.done():  # waiting for what is done would still be one more turn of the event loop
        task.cancel()
        await asyncio.wait((task,))
    if not task.cancelled():
        task.exception()
