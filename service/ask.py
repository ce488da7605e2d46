"""What one request wants, in the gateway's terms."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

from service.manifest import Task
from service.settings import Tier

TierLabel = Tier | Literal["custom", "none"]
Strategy = Literal["single", "cascade"]


@dataclass(frozen=True, slots=True)
class Ask:
    """`received_s` is `time.monotonic()` at the request's headers: the budget counts from there."""

    task: Task
    outputs: tuple[str, ...]
    tier: TierLabel
    budget_ms: float
    received_s: float
    model: str | None = None
    min_accuracy: float | None = None
    degrade: bool = True
    keep_late: bool = False
    priority: int = 2
    strategy: Strategy = "single"

    @property
    def deadline_s(self) -> float:
        return self.received_s + self.budget_ms / 1e3

    def spent_ms(self) -> float:
        return (time.monotonic() - self.received_s) * 1e3
