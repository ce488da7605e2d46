"""The last minute, for people who look; Prometheus is for machines that remember."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Depends

from service.activity import Summary, Tally
from service.gateway import Gateway, gateway_of
from service.schemas_activity import ActivityAnswer, ModelActivity, SecondActivity

router = APIRouter()


@router.get("/v1/activity", operation_id="activity", tags=["models"])
async def activity(gateway: Annotated[Gateway, Depends(gateway_of)]) -> ActivityAnswer:
    """What this gateway did in the last minute: rate, latency and routing of each model, and how requests ended."""
    seen = gateway.metrics.activity.summary(time.monotonic())
    return ActivityAnswer(
        window_s=seen.window_s,
        in_flight=gateway.pipeline.in_flight,
        max_in_flight=gateway.pipeline.permits.limit,
        queue_depth=gateway.pipeline.execution.waiting,
        rate_per_s=_rate(seen.total.answers, seen),
        p50_ms=_rounded(seen.total.quantile_ms(0.5)),
        p95_ms=_rounded(seen.total.quantile_ms(0.95)),
        prediction_coverage=gateway.predictor.coverage(),
        outcomes=dict(seen.outcomes),
        models=_models(seen),
        seconds=[
            SecondActivity(ended=m.ended, answers=m.answers, p50_ms=_rounded(m.p50_ms), p95_ms=_rounded(m.p95_ms))
            for m in seen.moments
        ],
    )


def _models(seen: Summary) -> list[ModelActivity]:
    def busiest(item: tuple[tuple[str, str], Tally]) -> tuple[int, tuple[str, str]]:
        return -item[1].answers, item[0]

    return [
        ModelActivity(
            task=task,
            model=model,
            answers=tally.answers,
            pictures=tally.pictures,
            rate_per_s=_rate(tally.answers, seen),
            share=round(tally.answers / seen.total.answers, 4),
            p50_ms=_rounded(tally.quantile_ms(0.5)) or 0.0,
            p95_ms=_rounded(tally.quantile_ms(0.95)) or 0.0,
            reasons=dict(tally.reasons),
        )
        for (task, model), tally in sorted(seen.tallies.items(), key=busiest)
    ]


def _rate(answers: int, seen: Summary) -> float:
    return round(answers / seen.window_s, 3) if seen.window_s else 0.0


def _rounded(ms: float | None) -> float | None:
    return None if ms is None else round(ms, 2)
