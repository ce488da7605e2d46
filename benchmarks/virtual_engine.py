"""The embedded engine's workers without threads: the same order, the same refusals, on a clock that only the list of
coming events moves.

As in service/work_queue.py: earliest deadline first over all models, decoding and inference as two pieces of work, work
that can no longer finish is dropped when its turn comes. Nothing is merged into batches.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from benchmarks.shared_machine import SharedMachine
from service.backlog import backlog
from service.tracked import TrackedPace

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
    """One piece: cost_s as expected, takes_s if nothing else ran; `done` is told what it took.

    after_s  work of the same request that follows this piece
    request  its number: of equal deadlines the earlier request goes first, with all its pieces
    """

    deadline_s: float
    cost_s: float
    takes_s: float
    done: Callable[[float], None]
    dropped: Then
    after_s: float = 0.0
    request: int = 0


@dataclass(slots=True)
class VirtualWorkers:
    """`count` workers that always take the work with the earliest deadline."""

    clock: Clock
    count: int
    machine: SharedMachine = field(default_factory=SharedMachine)
    _queue: list[tuple[float, int, int, Work]] = field(default_factory=list)
    _running: dict[int, tuple[float, Work]] = field(default_factory=dict)  # → expected end
    _order: itertools.count[int] = field(default_factory=itertools.count)
    _pace: TrackedPace = field(default_factory=TrackedPace)

    def put(self, work: Work) -> None:
        heapq.heappush(self._queue, (work.deadline_s, work.request, next(self._order), work))
        self._begin()

    def backlog(self, deadline_s: float) -> tuple[float, float]:
        """(wait_s, room_s) of new work with that deadline, counted as service/workers.py does."""
        to_come = [(work.deadline_s, work.after_s) for _, work in self._running.values() if work.after_s]
        to_come += [(work.deadline_s, work.cost_s + work.after_s) for *_, work in self._queue]
        ends_s = [end_s for end_s, _ in self._running.values()]
        told = backlog(self.clock.now_s, ends_s, self.count, to_come, deadline_s, pace=self._pace.value)
        return told.wait_s, told.room_s

    def _begin(self) -> None:
        while self._queue and len(self._running) < self.count:
            _, _, number, work = heapq.heappop(self._queue)
            if self.clock.now_s + work.cost_s > work.deadline_s:
                work.dropped()
                continue
            self._running[number] = (self.clock.now_s + work.cost_s, work)
            takes_s = work.takes_s * self.machine.slowdown(self.clock.now_s)
            self.clock.at(self.clock.now_s + takes_s, partial(self._end, number, work, takes_s))

    def _end(self, number: int, work: Work, took_s: float) -> None:
        del self._running[number]
        self._pace.observe(took_s=took_s, expected_s=work.cost_s)
        work.done(took_s)
        self._begin()
