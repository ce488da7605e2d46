"""strategy=cascade: the cheapest model first, the better one only for pictures the first is unsure of.

Source: Viola, Jones 2001 for the cascade; stopping on the softmax's confidence as in Wang et al. 2017, IDK Cascades.
What it gains is measured by `python -m benchmarks.cascade`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal

import numpy as np

from service.decision import Decision
from service.errors import DeadlineExceeded, EngineFailed, ModelUnavailable
from service.execution import Inferred
from service.manifest import ModelCard
from service.routing import usable_ms

Outcome = Literal["sure", "escalated", "no-time"]

# The better model is given up this long before the deadline, so that the first one's answer is still in time.
FALL_BACK_MS = 5.0


def first_model(decision: Decision, loaded: Callable[[ModelCard], bool]) -> ModelCard | None:
    """The cheapest model in memory, if it is not the chosen one and the budget holds both; else None: only that."""
    variants, estimates, demand = decision.variants, decision.estimates, decision.demand
    allowed = np.array([loaded(card) for card in variants.cards])
    if demand.min_accuracy is not None:
        allowed &= variants.accuracy >= demand.min_accuracy
    cheapest = int(np.where(allowed, estimates.work_ms, np.inf).argmin())
    both_ms = decision.p95_ms + float(estimates.work_ms[cheapest])
    if cheapest == decision.choice.index or not allowed[cheapest] or both_ms > usable_ms(estimates, demand):
        return None
    return variants.cards[cheapest]


async def run_cascade(
    first: Awaitable[Inferred], second: Callable[[], Awaitable[Inferred]], confidence: float
) -> tuple[Inferred, Outcome]:
    """The first model's answer if its top probability reaches `confidence` or the second is too late; else its.

    A first one that fails, or has just left memory, is as good as one that is unsure.
    """
    try:
        sketch = await first
    except (EngineFailed, ModelUnavailable):
        return await second(), "escalated"
    if float(sketch.arrays["probabilities"].max()) >= confidence:
        return sketch, "sure"
    try:
        return await second(), "escalated"
    except DeadlineExceeded:
        return sketch, "no-time"
