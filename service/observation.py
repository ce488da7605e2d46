"""How a request ended, told to Prometheus once, whichever way it ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
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
from service.manifest import ModelCard
from service.metrics import Metrics
from service.pipeline import Served
from service.routing import Reason


@dataclass
class Observation:
    """`outcome` is ok, degraded, late, shed, infeasible, invalid, cancelled or error."""

    metrics: Metrics
    task: str
    tier: str
    outcome: str = "error"

    def answered(self, served: Served, ask: Ask, timing_ms: dict[str, float]) -> None:
        """Counts the pictures, the steps, and whether the budget was met."""
        self.ran(
            served.card,
            len(served.pictures),
            ask,
            timing_ms,
            reason=served.decision.choice.reason,
            degraded=served.degraded,
        )

    def ran(
        self,
        card: ModelCard,
        rows: int,
        ask: Ask,
        timing_ms: Mapping[str, float],
        *,
        reason: Reason = "pinned",
        degraded: bool = False,
    ) -> None:
        """The same of tensors, whose model is always named: `timing_ms` has the steps that there were."""
        metrics = self.metrics
        tracing.took("post", timing_ms["post"] / 1e3)
        tracing.say(model=card.name, precision=card.precision, backend=card.backend, degraded=degraded)
        in_time = ask.spent_ms() <= ask.budget_ms
        self.outcome = "late" if not in_time else "degraded" if degraded else "ok"
        metrics.activity.answered(time.monotonic(), self.task, card.name, reason, ask.spent_ms(), rows)
        metrics.images.labels(self.task, card.name, card.precision, card.backend).inc(rows)
        for stage in ("read", "decode", "queue", "infer", "post"):
            if stage in timing_ms:
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
        tracing.say(task=task, tier=seen.tier, budget_ms=ask.budget_ms, outcome=seen.outcome)
        metrics.activity.ended(time.monotonic(), seen.outcome)
        metrics.requests.labels(task, seen.tier, seen.outcome).inc()
        metrics.request_duration.labels(task, seen.tier).observe(ask.spent_ms() / 1e3)
        if seen.outcome not in ("invalid", "infeasible", "cancelled"):
            metrics.slo_requests.labels(task, seen.tier).inc()
            # There from the first request on: a rule over a series that is not there says nothing, not that nothing
            # was in time.
            for gained in (metrics.slo_met, metrics.effective_accuracy):
                gained.labels(task, seen.tier)
