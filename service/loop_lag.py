"""How far the event loop is behind with its work, told by a timer that should have rung already.

Nothing ticks while nobody asks anything: the timer is set by the first bytes that arrive, and rings a few milliseconds
later if the loop is not busy with what came before.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

TICK_S = 0.002
# Late by so much at every tick for so long, the loop has more to do than it can; a single hiccup says nothing.
LATE_S = 0.010
SUSTAINED_S = 0.1
# Without a late tick for that long it has caught up.
CALM_S = 1.0


class LoopLag:
    """Belongs to the event loop's thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due_s: float | None = None
        self._late_since_s: float | None = None
        self._late_last_s = -CALM_S
        self._drowning = False

    def arm(self, loop: asyncio.AbstractEventLoop) -> None:
        """To be called when there is something to do; sets the timer if it is not set."""
        if self._due_s is None:
            self._due_s = self._clock() + TICK_S
            loop.call_later(TICK_S, self.ring)

    def behind_s(self) -> float:
        """How long the timer should have rung: what arrives now has waited for at most that, and a tick."""
        return 0.0 if self._due_s is None else max(0.0, self._clock() - self._due_s)

    @property
    def drowning(self) -> bool:
        """Whether the loop has been behind for a while, and has not caught up yet."""
        return self._drowning and self._clock() - self._late_last_s < CALM_S

    def ring(self) -> None:
        """The timer's own end."""
        now_s, late_s = self._clock(), self.behind_s()
        self._due_s = None
        if now_s - self._late_last_s > CALM_S:
            self._drowning = False
        if late_s < LATE_S:
            self._late_since_s = None
            return
        self._late_last_s = now_s
        if self._late_since_s is None:
            self._late_since_s = now_s - late_s
        if now_s - self._late_since_s >= SUSTAINED_S:
            self._drowning = True
