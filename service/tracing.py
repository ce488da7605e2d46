"""Where a request's time went, for whoever traces it: spans, if an endpoint is set, else nothing at all.

Every stage says here how long it took. Without tracing nobody listens: one look at a context variable, no import. With
it, service.tracing_otel makes spans of what it hears. A picture, or anything out of one, is never said.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Protocol

Value = str | int | float | bool


class Listener(Protocol):
    """One request's trace."""

    def span(self, name: str, attributes: Mapping[str, Value]) -> AbstractContextManager[None]:
        """A stage that begins now and ends with the `with`; what is told meanwhile belongs to it."""

    def past(self, name: str, began_s: float, ended_s: float, attributes: Mapping[str, Value]) -> None:
        """A stage that is over, by `time.monotonic()`."""

    def say(self, attributes: Mapping[str, Value]) -> None:
        """What is now known of the request."""

    def outgoing(self) -> dict[str, str]:
        """Headers for whoever works for this request elsewhere: `traceparent`, `tracestate`."""


_NOBODY_LISTENS = nullcontext()
_listener: ContextVar[Listener | None] = ContextVar("vision_trace", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """What is told inside, also in tasks that are begun inside, is told to the listener."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def stage(name: str, **attributes: Value) -> AbstractContextManager[None]:
    """The stage that the `with` is."""
    listener = _listener.get()
    return _NOBODY_LISTENS if listener is None else listener.span(name, attributes)


def took(name: str, run_s: float, queue_s: float = 0.0, *, ago_s: float = 0.0, **attributes: Value) -> None:
    """A stage that has ended just now, or so long ago, after so long; before it, it may have waited."""
    listener = _listener.get()
    if listener is None:
        return
    ended_s = time.monotonic() - ago_s
    if queue_s > 0:
        listener.past("queue", ended_s - run_s - queue_s, ended_s - run_s, {"vision.for": name})
    listener.past(name, ended_s - run_s, ended_s, attributes)


def say(**attributes: Value | None) -> None:
    """Attributes of the request's own span, `vision.` in front of each; None is nothing to say."""
    listener = _listener.get()
    if listener is not None:
        listener.say({f"vision.{name}": value for name, value in attributes.items() if value is not None})


def outgoing() -> dict[str, str]:
    """Headers that hand the trace on; none without tracing."""
    listener = _listener.get()
    return {} if listener is None else listener.outgoing()
