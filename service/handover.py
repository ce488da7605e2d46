"""From the workers to the event loop: each answer by itself, or four at once where everybody waits for cores anyway.

Being woken costs the loop more than what it then does: while it slept a network ran on its core, and what it needs has
gone from the caches. Answers that go together share that, and so do the requests that come in their place.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

_TOGETHER = 4


@dataclass(frozen=True, slots=True)
class _Given:
    loop: asyncio.AbstractEventLoop
    tell: Callable[[float], None]
    at_s: float


class Handover:
    """Used by worker threads; what is given is told in its order, on its event loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: list[_Given] = []

    def give(self, loop: asyncio.AbstractEventLoop, tell: Callable[[float], None], *, may_wait: bool) -> None:
        """`tell(held_s)` is called on the loop: at once, or with those given next if this one `may_wait`."""
        with self._lock:
            self._held.append(_Given(loop, tell, time.monotonic()))
            if may_wait and len(self._held) < _TOGETHER:
                return
            held, self._held = self._held, []
        _deliver(held)

    def hurry(self, *, held_for_s: float = 0.0) -> None:
        """What is held goes now, if the first of it has been for so long."""
        if not self._held:
            return
        with self._lock:
            if not self._held or time.monotonic() - self._held[0].at_s < held_for_s:
                return
            held, self._held = self._held, []
        _deliver(held)


def _deliver(held: list[_Given]) -> None:
    for loop in {given.loop for given in held}:
        call(loop, partial(_tell, [given for given in held if given.loop is loop]))


def _tell(held: list[_Given]) -> None:
    now_s, last = time.monotonic(), held[-1]
    for given in held:
        given.tell(0.0 if given is last else now_s - given.at_s)


def call(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    """From any thread; a loop that is closed has nobody left who waits."""
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:
        if not loop.is_closed():
            raise
