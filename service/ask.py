"""What one request wants, in the gateway's terms."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from service.bodies import Picture
from service.clients import ANONYMOUS
from service.errors import DeadlineExceeded
from service.image_header import ImageHeader
from service.images import Geometry
from service.manifest import ModelCard, SegmentKind, Task
from service.prior_times import Post
from service.settings import Tier

TierLabel = Tier | Literal["custom", "none"]
Strategy = Literal["single", "cascade"]


@dataclass(frozen=True, slots=True)
class Raw:
    """One picture's raw outputs, (…) without the batch axis, and all it takes to make a result of them.

    deadline_s  `time.monotonic()` from which nobody wants it any more
    """

    card: ModelCard
    arrays: Mapping[str, NDArray[np.generic]]
    geometry: Geometry
    picture: Picture
    header: ImageHeader
    deadline_s: float = math.inf

    def require_time(self) -> None:
        """Raises DeadlineExceeded once it is too late: for those who do much, between one piece and the next."""
        if time.monotonic() > self.deadline_s:
            raise DeadlineExceeded("what the model found could not be made ready in time")


@dataclass(frozen=True, slots=True)
class Finish:
    """What is left to do once the model has answered, on a worker; `post` says what kind of work, for the predictor."""

    post: Post
    run: Callable[[Raw], Any]


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
    kind: SegmentKind | None = None
    finish: Finish | None = None
    client: str = ANONYMOUS

    @property
    def post(self) -> Post:
        return self.finish.post if self.finish else "nothing"

    @property
    def exact(self) -> bool:
        """Vectors of two precisions of a model are alike, not the same: who names a model to embed means that one."""
        return "embedding" in self.outputs

    @property
    def deadline_s(self) -> float:
        return self.received_s + self.budget_ms / 1e3

    def spent_ms(self) -> float:
        return (time.monotonic() - self.received_s) * 1e3
