"""The embedded engine's workers without threads: the same order, the same refusals, on a clock that only the list of
coming events moves.

As in service/workers.py: earliest deadline first over all models, decoding and inference as two pieces of work, work
that can no longer finish is dropped when its turn comes. Nothing is merged into batches.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

Then = Callable[[], None]


class Clock:
    """Seconds that pass only from one event to the next."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._coming: list[tuple[float, int, Then]] = []
        self._order = itertools.count()

    def at(self, when_s: float, then: Then) -> None:
        heapq.heappush(self._coming, (when_s, next(self._order), then))

    def run(self) -> None:
        """Until nothing is left to happen."""
        while self._coming:
            self.now_s, _, then = heapq.heappop(self._coming)
            then()


@dataclass(slots=True)
class Work:
    """One piece: cost_s as expected, takes_s in truth. `after_s`: work of the same request that follows this piece."""

    deadline_s: float
    cost_s: float
    takes_s: float
    done: Then
    dropped: Then
    after_s: float = 0.0


@dataclass(slots=True)
class VirtualWorkers:
    """`count` workers that always take the work with the earliest deadline."""

    clock: Clock
    count: int
    _queue: list[tuple[float, int, Work]] = field(default_factory=list)
    _running: dict[int, tuple[float, Work]] = field(default_factory=dict)  # → expected end
    _order: itertools.count[int] = field(default_factory=itertools.count)

    def put(self, work: Work) -> None:
        heapq.heappush(self._queue, (work.deadline_s, next(self._order), work))
        self._begin()

    def backlog(self, deadline_s: float) -> tuple[float, float]:
        """(wait_s, room_s) of new work with that deadline, counted as service/workers.py does."""
        now_s = self.clock.now_s
        ends = sorted(end_s for end_s, _ in self._running.values())
        free_s = max(0.0, ends[0] - now_s) if len(ends) >= self.count else 0.0
        to_come = [(work.deadline_s, work.after_s) for _, work in self._running.values() if work.after_s]
        to_come += [(work.deadline_s, work.cost_s + work.after_s) for _, _, work in self._queue]
        total_s, before_s, slack_s = 0.0, 0.0, math.inf
        for waiting_deadline_s, cost_s in sorted(to_come):
            total_s += cost_s
            if waiting_deadline_s <= deadline_s:
                before_s = total_s
            else:
                slack_s = min(slack_s, waiting_deadline_s - now_s - free_s - total_s / self.count)
        return free_s + before_s / self.count, slack_s * self.count

    def _begin(self) -> None:
        while self._queue and len(self._running) < self.count:
            _, number, work = heapq.heappop(self._queue)
            if self.clock.now_s + work.cost_s > work.deadline_s:
                work.dropped()
                continue
            self._running[number] = (self.clock.now_s + work.cost_s, work)
            self.clock.at(self.clock.now_s + work.takes_s, partial(self._end, number, work))

    def _end(self, number: int, work: Work) -> None:
        del self._running[number]
        work.done()
        self._begin()
