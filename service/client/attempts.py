"""One call and its retries, without doing any I/O: told what happened, it says what to do next.

Repeated is only what cannot have cost the gateway anything: a connection that never came about, and a request that was
turned away with the time to come back (503, 429 with Retry-After). Never beyond the call's deadline, which is
`timeout_s`, or the budget if that is shorter; and a repeated request has only what is left of its budget. What a tier
comes to is the gateway's affair: it holds for each try.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import httpx

from service.client.calls import Call
from service.client.errors import (
    ClientError,
    NoAnswerInTime,
    NotAvailable,
    NotReachable,
    ProblemError,
    UnexpectedAnswer,
    problem_error,
)

T = TypeVar("T")

BUDGET = "latency_budget_ms"
_FIRST_BACKOFF_S = 0.1
_LONGEST_BACKOFF_S = 2.0
_CONNECT_TIMEOUT_S = 5.0
# Clients that were turned away together should not come back together.
_SPREAD = 0.1


@dataclass(frozen=True, slots=True)
class Wait:
    """Ask again after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    answer: T


class Attempts(Generic[T]):
    """`request_arguments`, send, `after`; until that says Done, or raises a ClientError."""

    def __init__(
        self, call: Call[T], url: str, timeout_s: float, retries: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._call = call
        self._url = url
        self._timeout_s = timeout_s
        self._retries_left = retries
        self._clock = clock
        self._started_s = clock()
        self._budget_ms: float | None = call.params.get(BUDGET)
        self._backoff_s = _FIRST_BACKOFF_S
        # Why the call was repeated, the first time: what is raised if the repetition has no chance.
        self._first: ClientError | None = None

    def request_arguments(self) -> dict[str, Any]:
        """Keyword arguments for httpx's `build_request`. Raises why the call was repeated if no time is left for it."""
        spent_s = self._clock() - self._started_s
        params = dict(self._call.params)
        if self._first is not None:
            if spent_s >= self._deadline_s():  # the wait before this took longer than it should
                raise self._first
            if self._budget_ms is not None:
                params[BUDGET] = self._budget_ms - spent_s * 1e3
        left_s = max(0.001, self._timeout_s - spent_s)
        return {
            "method": self._call.method,
            "url": self._call.path,
            "params": params,
            **self._call.body(),
            "timeout": httpx.Timeout(left_s, connect=min(left_s, _CONNECT_TIMEOUT_S)),
        }

    def after(self, outcome: httpx.Response | httpx.TransportError) -> Done[T] | Wait:
        """What to do now. Raises the ClientError that ends the call."""
        if isinstance(outcome, httpx.ConnectError | httpx.ConnectTimeout):
            return self._wait_or(NotReachable(f"{self._url} does not answer: {_reason(outcome)}"), self._next_backoff())
        if isinstance(outcome, httpx.TimeoutException):
            raise NoAnswerInTime(f"no answer from {self._url} within {self._timeout_s:g} s") from outcome
        if isinstance(outcome, httpx.UnsupportedProtocol | httpx.ProxyError | httpx.TransportError):
            raise NotReachable(f"{self._url}: the connection broke: {_reason(outcome)}") from outcome
        if outcome.is_success:
            return Done(self._read(outcome))
        err = _problem(outcome, self._url)
        if isinstance(err, NotAvailable) and err.retry_after_s is not None:
            return self._wait_or(err, err.retry_after_s * random.uniform(1.0, 1.0 + _SPREAD))  # noqa: S311
        # What was left of the budget is too little for any model: the caller's budget was not the fault.
        if self._first is not None and isinstance(err, ProblemError) and err.code == "budget-unsatisfiable":
            raise self._first
        raise err

    def _wait_or(self, err: ClientError, seconds: float) -> Wait:
        self._first = self._first or err
        if self._retries_left == 0 or self._clock() - self._started_s + seconds >= self._deadline_s():
            raise err
        self._retries_left -= 1
        return Wait(seconds)

    def _deadline_s(self) -> float:
        """Seconds after the call's start."""
        return self._timeout_s if self._budget_ms is None else min(self._timeout_s, self._budget_ms / 1e3)

    def _next_backoff(self) -> float:
        seconds = self._backoff_s * random.uniform(0.5, 1.0)  # noqa: S311
        self._backoff_s = min(2 * self._backoff_s, _LONGEST_BACKOFF_S)
        return seconds

    def _read(self, response: httpx.Response) -> T:
        try:
            return self._call.read(response.json())
        except (ValueError, KeyError, TypeError, AttributeError) as err:
            raise UnexpectedAnswer(f"{self._url} answered what no vision-gateway does: {err!r}") from err


def _problem(response: httpx.Response, url: str) -> ClientError:
    try:
        document = response.json()
    except ValueError:
        document = None
    if not isinstance(document, dict) or "type" not in document:
        # A proxy in front may turn a request away too, in words of its own.
        if response.status_code in (429, 503):
            said = {"title": response.reason_phrase, "detail": f"{url} answered {response.status_code}"}
            return problem_error(said, response.status_code, _retry_after_s(response, said))
        return UnexpectedAnswer(f"{url} answered {response.status_code} and no problem document")
    return problem_error(document, response.status_code, _retry_after_s(response, document))


def _retry_after_s(response: httpx.Response, document: dict[str, Any]) -> float | None:
    """Seconds: of the document, which is exact, else of the header, which is whole. None: no use coming back."""
    if isinstance(document.get("retry_after_s"), int | float):
        return max(0.0, float(document["retry_after_s"]))
    header = response.headers.get("retry-after", "")
    return float(header) if header.isdecimal() else None


def _reason(err: httpx.TransportError) -> str:
    return str(err) or type(err).__name__
