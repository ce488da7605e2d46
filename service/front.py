"""Refusals from a request's headers alone, for when there is no time to look at each request.

Looking at a request (its way through the app, its picture's header, the router's choice) takes the event loop about a
millisecond. Asked ten times as often as it can answer, the loop would spend all its time on it: refusals, and the
answers of those who were admitted, would wait behind a second of it. So while the loop is behind,

- what was refused a moment ago (same address, same parameters, same client) is refused again without another look;
- and if it has been behind for a while, and others were refused just now, so is whatever is known to be a request
  like others that were served before.

And a client that presses upon others (service/fair_share.py) and was refused for it is not looked at for 10 ms,
whatever it asks for and however idle the loop is: looks at a flood take the time that the others' pictures need.

Whatever else was never seen yet is looked at: a wrong parameter is told as such. A refusal costs a tenth of a look.
"""

from __future__ import annotations

import json
import logging
import math
import re
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import OverFairShare, Overloaded, VisionError
from service.loop_lag import LoopLag
from service.metrics import Metrics
from service.problem_document import PROBLEM_MEDIA_TYPE, problem_document
from service.request_id import acceptable_id
from service.security_headers import SECURITY_HEADERS
from service.settings import Tier

log = logging.getLogger(__name__)

SCOPE_KEY = "vision.front"
# From so far behind on, refusals are repeated; they must be told within 10 ms, which a look at each would not keep.
BEHIND_S = 0.002
# How long a refusal stands: until there would be time again, if nobody else were admitted, which it says itself. At
# most until the queue is another one in any case, at least so long that looks are few. While the loop drowns
# every look is one too many, and it stands as long as it can.
STANDS_S = 0.1
STANDS_AT_LEAST_S = 0.01
# For so long after a refusal there are more requests than can be answered.
CROWDED_S = 1.0
_MOST_REMEMBERED = 4096
_TASKS = {b"/v1/classify": "classify", b"/v1/embed": "embed", b"/v1/detect": "detect", b"/v1/segment": "segment"}
_TIER = re.compile(rb"(?:^|&)tier=(\w+)")
_NUMBERS = re.compile(rb"[\d.]+")
_TIERS: frozenset[str] = frozenset(Tier.__args__)  # type: ignore[attr-defined]
_FIXED = tuple((name.lower().encode("ascii"), value.encode("ascii")) for name, value in SECURITY_HEADERS.items())

Header = tuple[bytes, bytes]


@dataclass(slots=True)
class Asked:
    """One request as its headers tell it; stands in the scope, for those to call who know how it ended.

    whole  its body has arrived as well
    """

    front: Front
    task: str
    query: bytes
    client: bytes
    received_s: float = field(default_factory=time.monotonic)
    whole: bool = False

    def refused(self, err: VisionError) -> None:
        """It was told that there is no room for it now."""
        self.front.remember_refusal(self, err)

    def served(self) -> None:
        """It was a request in order."""
        self.front.remember_shape(self)

    @property
    def exactly(self) -> tuple[str, bytes, int]:
        return self.task, self.query, hash(self.client)

    @property
    def by_client(self) -> tuple[str, bytes, int]:
        """Whatever it asks for."""
        return "", b"", hash(self.client)

    @property
    def shape(self) -> tuple[str, bytes]:
        """Without the numbers: budgets differ with every request."""
        return self.task, _NUMBERS.sub(b"0", self.query)

    @property
    def tier(self) -> str:
        """As the metrics call it."""
        if b"latency_budget_ms=" in self.query:
            return "custom"
        found = _TIER.search(self.query)
        tier = found[1].decode("ascii", "replace") if found else ""
        return tier if tier in _TIERS else "none" if b"model=" in self.query else "standard"


@dataclass(frozen=True, slots=True)
class Answer:
    """A refusal, ready to be sent."""

    status: int
    headers: list[Header]
    body: bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})


class Front:
    """Knows how far behind the loop is, what was refused a moment ago, and what requests in order look like."""

    def __init__(
        self, metrics: Metrics, lag: LoopLag | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.lag = lag or LoopLag()
        self._metrics = metrics
        self._clock = clock
        self._refusals: OrderedDict[tuple[str, bytes, int], tuple[float, VisionError]] = OrderedDict()
        self._shapes: OrderedDict[tuple[str, bytes], None] = OrderedDict()
        self._told_s = 0.0
        self._refused_s = -CROWDED_S
        self._untold = 0

    def asked(self, method: bytes, path: bytes, query: bytes, headers: Iterable[Header]) -> Asked | None:
        """The request, if it is one that may be refused from its headers: a POST of pictures."""
        task = _TASKS.get(path) if method == b"POST" else None
        if task is None:
            return None
        client, budget = b"", b""
        for name, value in headers:
            if name in (b"authorization", b"x-api-key"):
                client += value + b"\n"
            elif name == b"x-latency-budget-ms":
                budget = b"&latency_budget_ms=" + value
        return Asked(self, task, query + budget, client, self._clock())

    def refusal(self, asked: Asked) -> VisionError | None:
        """Why it is refused without a look; None if there is time for one, or too little is known."""
        told_s, err = self._refusals.get(asked.by_client, (0.0, None))
        if err is not None and self._clock() < told_s + STANDS_AT_LEAST_S:
            return err
        # Of a loop that is catching up the timer says nothing, but the request itself has waited for its turn.
        behind_s = max(self.lag.behind_s(), self._clock() - asked.received_s)
        if behind_s < BEHIND_S:
            return None
        told_s, err = self._refusals.get(asked.exactly, (0.0, None))
        if err is not None and self._clock() < told_s + (STANDS_S if self.lag.drowning else _stands_s(err)):
            return err
        # Behind without having refused anybody, it lacks a core, not the capacity: those who came may well be in time.
        crowded = self._clock() - self._refused_s < CROWDED_S
        if crowded and self.lag.drowning and asked.shape in self._shapes:
            return Overloaded("more requests come than the gateway can look at", limit="what the event loop can do")
        return None

    def remember_refusal(self, asked: Asked, err: VisionError) -> None:
        self._refused_s = self._clock()
        which = asked.by_client if isinstance(err, OverFairShare) else asked.exactly
        _put(self._refusals, which, (self._refused_s, err))
        self.remember_shape(asked)

    def remember_shape(self, asked: Asked) -> None:
        _put(self._shapes, asked.shape, None)

    def answer(self, asked: Asked, err: VisionError, headers: Iterable[Header]) -> Answer:
        """The refusal, once it is counted as one."""
        spent_s = self._clock() - asked.received_s
        self._count(asked, err, spent_s)
        identity = acceptable_id(
            next((value for name, value in headers if name == b"x-request-id"), b"").decode("latin-1")
        )
        identity = identity or uuid.uuid4().hex
        body = json.dumps(problem_document(err, identity)).encode()
        sent: list[Header] = [
            (b"content-type", PROBLEM_MEDIA_TYPE.encode("ascii")),
            (b"content-length", str(len(body)).encode("ascii")),
            (b"retry-after", str(max(1, math.ceil(err.retry_after_s or 1.0))).encode("ascii")),
            (b"server-timing", f"refused;dur={spent_s * 1e3:.3f}".encode("ascii")),
            (b"x-request-id", identity.encode("ascii")),
            *_FIXED,
        ]
        return Answer(err.status, sent, body)

    def _count(self, asked: Asked, err: VisionError, spent_s: float) -> None:
        metrics, tier = self._metrics, asked.tier
        metrics.problems.labels(str(err.status), err.code).inc()
        metrics.activity.ended(self._clock(), "shed")
        metrics.requests.labels(asked.task, tier, "shed").inc()
        metrics.request_duration.labels(asked.task, tier).observe(spent_s)
        metrics.slo_requests.labels(asked.task, tier).inc()
        for gained in (metrics.slo_met, metrics.effective_accuracy):  # there, if nothing: see service/observation.py
            gained.labels(asked.task, tier)
        self._untold += 1
        # A line for each, as the access log has it, would cost what not looking at them saves.
        if self._clock() - self._told_s > 1.0:
            self._told_s = self._clock()
            log.warning("more requests come than can be looked at: %d refused from their headers", self._untold)
            self._untold = 0


class SecondLook:
    """ASGI around everything: a request that waited for its turn is judged by its headers once more."""

    def __init__(self, app: ASGIApp, front: Front) -> None:
        self._app = app
        self._front = front

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked: Asked | None = scope.get(SCOPE_KEY)
        err = self._front.refusal(asked) if asked is not None else None
        if asked is None or err is None:
            await self._app(scope, receive, send)
        else:
            await self._front.answer(asked, err, scope["headers"])(scope, receive, send)


def _stands_s(err: VisionError) -> float:
    return min(STANDS_S, max(STANDS_AT_LEAST_S, err.retry_after_s or STANDS_S))


def _put(remembered: OrderedDict, key: object, value: object) -> None:  # type: ignore[type-arg]
    remembered[key] = value
    remembered.move_to_end(key)
    if len(remembered) > _MOST_REMEMBERED:
        remembered.popitem(last=False)
