"""How a request ended, told to Prometheus once, whichever way it ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from service import tracing
from service.ask import Ask
from service.errors import (
    AccuracyUnsatisfiable,
    BudgetUnsatisfiable,
    CapacityError,
    DeadlineExceeded,
    EngineUnavailable,
    RequestError,
)
from service.metrics import Metrics
from service.pipeline import Served


@dataclass
class Observation:
    """`outcome` is ok, degraded, late, shed, infeasible, invalid, cancelled or error."""

    metrics: Metrics
    task: str
    tier: str
    outcome: str = "error"

    def answered(self, served: Served, ask: Ask, timing_ms: dict[str, float]) -> None:
        """Counts the pictures, the steps, and whether the budget was met."""
        card, metrics = served.card, self.metrics
        tracing.took("post", timing_ms["post"] / 1e3)
        tracing.say(model=card.name, precision=card.precision, backend=card.backend, degraded=served.degraded)
        in_time = ask.spent_ms() <= ask.budget_ms
        self.outcome = "late" if not in_time else "degraded" if served.degraded else "ok"
        metrics.images.labels(self.task, card.name, card.precision, card.backend).inc(len(served.pictures))
        for stage in ("read", "decode", "queue", "infer", "post"):
            metrics.stage_duration.labels(stage).observe(timing_ms[stage] / 1e3)
        if in_time:
            metrics.slo_met.labels(self.task, self.tier).inc()
            if card.accuracy is not None:
                metrics.effective_accuracy.labels(self.task, self.tier).inc(card.accuracy.value)


@contextmanager
def observed(metrics: Metrics, task: str, ask: Ask) -> Iterator[Observation]:
    """Counts the request however its body ends; the error goes on to whoever answers it."""
    seen = Observation(metrics, task, ask.tier)
    try:
        yield seen
    except RequestError as err:
        seen.outcome = "infeasible" if isinstance(err, (BudgetUnsatisfiable, AccuracyUnsatisfiable)) else "invalid"
        raise
    except (CapacityError, EngineUnavailable):
        seen.outcome = "shed"
        raise
    except DeadlineExceeded:
        seen.outcome = "late"
        raise
    except asyncio.CancelledError:
        seen.outcome = "cancelled"
        raise
    finally:
        tracing.say(task=task, tier=ask.tier, budget_ms=ask.budget_ms, outcome=seen.outcome)
        metrics.requests.labels(task, ask.tier, seen.outcome).inc()
        metrics.request_duration.labels(task, ask.tier).observe(ask.spent_ms() / 1e3)
        if seen.outcome not in ("invalid", "infeasible", "cancelled"):
            metrics.slo_requests.labels(task, ask.tier).inc()
