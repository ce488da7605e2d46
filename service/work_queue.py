"""Work that waits: the earliest deadline first, and with it who may ride along in one run. No threads, no clock.

An entry is WAITING until it is taken (RUNNING) or its caller gives up (GONE), and it leaves WAITING once: nothing is
answered twice, cancelled work never runs. Whoever shares a queue between threads holds one lock around every call.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Generic, TypeVar

log = logging.getLogger(__name__)

# Two runs are merged if together they take at most this part of what they take apart: on one thread a batch of a
# convolutional network often takes as long as its pictures one by one, and then only makes the first of them wait.
_MERGE_GAIN = 0.95

Item = TypeVar("Item")
Result = TypeVar("Result")


class State(Enum):
    WAITING = 0
    RUNNING = 1
    GONE = 2


@dataclass(frozen=True, eq=False)
class Lane(Generic[Item, Result]):
    """Work of one kind, which may be merged into one run.

    run         items → results, in the same order, on a worker thread
    max_rows    most rows merged into one run; 1: never merged
    expected_s  rows → seconds that a merged run is expected to take now; 0.0 where unknown
    """

    name: str
    run: Callable[[list[Item]], list[Result]]
    max_rows: int = 1
    expected_s: Callable[[int], float] = lambda rows: 0.0
    waiting: list[Entry] = field(default_factory=list, repr=False)


@dataclass(frozen=True, slots=True)
class Done(Generic[Result]):
    """A result and how it came about; `batch_rows` counts all rows of the run it was part of."""

    result: Result
    queue_s: float
    run_s: float
    batch_rows: int
    before: Done[Any] | None = None  # how the work went that this followed on


@dataclass(frozen=True, slots=True)
class Next(Generic[Item]):
    """Work that follows at once on other work, without a way through the event loop in between."""

    lane: Lane[Item, Any]
    item: Item
    rows: int
    cost_s: float


@dataclass(slots=True, eq=False)
class Entry:
    """One piece of work, and the future of whoever waits for it; `successor` is what `then` made follow on it."""

    deadline_s: float
    sequence: int
    lane: Lane[Any, Any]
    item: Any
    rows: int
    cost_s: float
    keep_late: bool
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Done[Any]]
    queued_s: float
    then: Callable[[Any], Next[Any]] | None = None
    before: Done[Any] | None = None
    successor: Entry | None = None
    abandoned: bool = False
    state: State = State.WAITING

    def __lt__(self, other: Entry) -> bool:
        return (self.deadline_s, self.sequence) < (other.deadline_s, other.sequence)


class WorkQueue:
    """Entries in the order of their deadlines, over all lanes; of equal deadlines the one that came first."""

    def __init__(self) -> None:
        self._heap: list[Entry] = []
        self._waiting = 0

    def __len__(self) -> int:
        """Entries that wait."""
        return self._waiting

    def put(self, entry: Entry) -> None:
        heapq.heappush(self._heap, entry)
        heapq.heappush(entry.lane.waiting, entry)
        self._waiting += 1

    def pieces(self) -> list[tuple[float, float]]:
        """(deadline, cost) of what waits, in seconds, in no order."""
        return [(entry.deadline_s, entry.cost_s) for entry in self._alive()]

    def give_up(self, entry: Entry) -> None:
        """Its caller waits no longer: it, or what followed on it, is never taken if it has not been yet."""
        entry.abandoned = True
        entry = entry.successor or entry
        if entry.state is not State.WAITING:
            return
        entry.state = State.GONE
        # It stays in the heaps for a while; its picture, whose bytes nobody counts any more, does not.
        entry.item = entry.then = entry.before = None
        self._waiting -= 1
        if self._waiting * 2 + 64 < len(self._heap):  # mostly cancelled: drop the dead before they pile up
            self._heap = list(self._alive())
            heapq.heapify(self._heap)
            entry.lane.waiting[:] = [other for other in entry.lane.waiting if other.state is State.WAITING]
            heapq.heapify(entry.lane.waiting)

    def empty(self) -> list[Entry]:
        """What waited; none of it will be taken."""
        waiting = list(self._alive())
        for entry in waiting:
            entry.state = State.GONE
        self._heap.clear()
        self._waiting = 0
        return waiting

    def take(self, now_s: float, idle: int) -> tuple[list[Entry], list[Entry]]:
        """The next run, and the entries found on the way that can no longer make it.

        idle  threads that wait for work: what they could take at once rides with nobody
        """
        hopeless: list[Entry] = []
        while self._heap:
            head = heapq.heappop(self._heap)
            if head.state is not State.WAITING:
                continue
            self._claim(head)
            if not head.keep_late and now_s + head.cost_s > head.deadline_s:
                hopeless.append(head)
                continue
            return self._company_of(head, now_s, idle), hopeless
        return [], hopeless

    def _company_of(self, head: Entry, now_s: float, idle: int) -> list[Entry]:
        """`head` with whom it may run; alone if its lane cannot even say how long it takes."""
        try:
            return self._merge(head, now_s, idle)
        except Exception:
            log.exception("%s cannot say how long it takes. This is a bug.", head.lane.name)
            return [head]

    def _merge(self, head: Entry, now_s: float, idle: int) -> list[Entry]:
        """`head` and those of its lane that may ride along.

        Only where running together is really faster, no idle thread goes without, and neither `head` nor whoever is
        next in the queue becomes late.
        """
        lane, batch, rows = head.lane, [head], head.rows
        _drop_dead(lane)  # also where nothing can be merged: what was taken must not stay in memory
        if lane.max_rows <= 1:
            return batch
        spare = self._waiting - idle
        free_by_s = min(head.deadline_s, self._next_must_begin_s(lane)) - now_s
        while spare > 0 and _drop_dead(lane):
            follower = lane.waiting[0]
            total = rows + follower.rows
            if total > lane.max_rows or lane.expected_s(total) > free_by_s or not _pays(lane, rows, follower.rows):
                break
            heapq.heappop(lane.waiting)
            self._claim(follower)
            batch.append(follower)
            rows, spare = total, spare - 1
        return batch

    def _next_must_begin_s(self, lane: Lane[Any, Any]) -> float:
        """When the first entry of another lane must begin to make its deadline; inf if there is none."""
        others = (entry.deadline_s - entry.cost_s for entry in self._alive() if entry.lane is not lane)
        return min(others, default=float("inf"))

    def _alive(self) -> Iterator[Entry]:
        return (entry for entry in self._heap if entry.state is State.WAITING)

    def _claim(self, entry: Entry) -> None:
        entry.state = State.RUNNING
        self._waiting -= 1


def cost_s(batch: list[Entry]) -> float:
    """How long the run is expected to take, in seconds."""
    if len(batch) == 1:
        return batch[0].cost_s
    return batch[0].lane.expected_s(sum(entry.rows for entry in batch))


def _drop_dead(lane: Lane[Any, Any]) -> bool:
    """Removes taken and cancelled entries from the lane's head; true if a waiting one is left."""
    while lane.waiting and lane.waiting[0].state is not State.WAITING:
        heapq.heappop(lane.waiting)
    return bool(lane.waiting)


def _pays(lane: Lane[Any, Any], rows: int, more: int) -> bool:
    """True if running them together takes clearly less time than one after the other, or if nothing is known."""
    apart_s = lane.expected_s(rows) + lane.expected_s(more)
    return apart_s == 0.0 or lane.expected_s(rows + more) < _MERGE_GAIN * apart_s
