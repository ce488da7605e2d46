"""`GET /v1/activity` over the wire."""

from __future__ import annotations

from pydantic import Field

from service.schemas import Wire


class ModelActivity(Wire):
    """What one model answered of one task in the window."""

    task: str = Field(description="classify, embed, detect or segment.")
    model: str
    answers: int
    pictures: int
    rate_per_s: float = Field(description="Answers a second.")
    share: float = Field(description="Of all answers, 0..1.")
    p50_ms: float
    p95_ms: float
    reasons: dict[str, int] = Field(description="`routing.reason` → how often.")


class SecondActivity(Wire):
    """One second of the window; null quantiles where nothing was answered."""

    ended: int = Field(description="Requests that ended, whichever way.")
    answers: int
    p50_ms: float | None
    p95_ms: float | None


class ActivityAnswer(Wire):
    """The last minute of this gateway, in whole seconds. Times run from a request's headers to its answer."""

    window_s: int = Field(description="Seconds that the numbers cover: 60, or fewer since the first request.")
    in_flight: int
    max_in_flight: int
    queue_depth: int = Field(description="Pieces of work that no worker has taken yet.")
    rate_per_s: float = Field(description="Answers a second.")
    p50_ms: float | None
    p95_ms: float | None
    prediction_coverage: float | None = Field(
        description="Share of the last 1,000 answers that took no longer than predicted; the target is 0.95."
    )
    outcomes: dict[str, int] = Field(
        description="How requests ended: ok, degraded, late, shed, infeasible, invalid, cancelled, error → how many."
    )
    models: list[ModelActivity] = Field(description="Busiest first.")
    seconds: list[SecondActivity] = Field(description="Oldest first, `window_s` of them.")
