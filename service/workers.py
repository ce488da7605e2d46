"""One thread per core, one queue, earliest deadline first: everything that costs processor time goes through here.

Decoding and inference share the threads, so the cores are never oversubscribed and the wait of a new request is one
number: the work with earlier deadlines, divided by the threads.

An entry is WAITING until a thread takes it (RUNNING) or its caller gives up (GONE). Only the thread that moves it out
of WAITING may answer it, under the one lock: nothing is answered twice, cancelled work never runs.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Generic, TypeVar

from service.backlog import Backlog, backlog
from service.errors import DeadlineExceeded, EngineUnavailable, Overloaded
from service.handover import Handover, call
from service.thread_priority import step_back
from service.tracked import TrackedPace

log = logging.getLogger(__name__)

# Two runs are merged if together they take at most this part of what they take apart: on one thread a batch of a
# convolutional network often takes as long as its pictures one by one, and then only makes the first of them wait.
_MERGE_GAIN = 0.95
# An answer waits for others to go with it only if so much work waits for each thread, if another thread is about to be
# through, and if its own deadline is further away than `_UNHURRIED_S`; and hardly longer than `_SOON_S`.
_BACKLOG_A_THREAD = 2
_SOON_S = 0.02
_UNHURRIED_S = 0.05
# There is a thread for each core, so the event loop has none of its own: what it hands out and takes back would wait
# behind whole runs of models.
_STEPS_BACK = 5

Item = TypeVar("Item")
Result = TypeVar("Result")


class _State(Enum):
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
    waiting: list[_Entry] = field(default_factory=list, repr=False)


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
class _Entry:
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
    successor: _Entry | None = None
    abandoned: bool = False
    state: _State = _State.WAITING

    def __lt__(self, other: _Entry) -> bool:
        return (self.deadline_s, self.sequence) < (other.deadline_s, other.sequence)


_GoOn = Callable[[_Entry, Callable[[Any], Next[Any]], Done[Any]], None]
_Answer = Callable[[_Entry, Done[Any]], None]


class Workers:
    """`count` threads that always take the entry with the earliest deadline. Threads start with the first `run`."""

    def __init__(self, count: int, *, max_waiting: int = 4096) -> None:
        self.count = count
        self._max_waiting = max_waiting
        self._changed = threading.Condition()
        self._queue: list[_Entry] = []
        self._waiting = 0
        self._idle = 0
        self._running: dict[int, float] = {}
        self._announced: dict[int, tuple[float, float]] = {}
        self._sequence = itertools.count()
        self._threads: list[threading.Thread] = []
        self._handover = Handover()
        self._pace = TrackedPace()
        self._closed = False

    @property
    def waiting(self) -> int:
        """Entries that no thread has taken yet."""
        return self._waiting

    @property
    def idle(self) -> int:
        """Threads that wait for work."""
        return self._idle

    @property
    def alone(self) -> bool:
        """Asked by a worker: nothing else runs or waits, so the other cores have nothing to do."""
        return self._waiting == 0 and len(self._running) == 1

    def announce(self, cost_s: float, deadline_s: float) -> Callable[[], None]:
        """Lets `backlog` count work that will come; to be called when it has come, or will not."""
        key = next(self._sequence)
        with self._changed:
            self._announced[key] = (deadline_s, cost_s)

        def arrived() -> None:
            with self._changed:
                self._announced.pop(key, None)

        return arrived

    def backlog(self, deadline_s: float) -> Backlog:
        """What stands before, and behind, new work with that deadline."""
        with self._changed:
            now_s = time.monotonic()
            ends_s = list(self._running.values())
            pieces = [(e.deadline_s, e.cost_s) for e in self._queue if e.state is _State.WAITING]
            pieces.extend(self._announced.values())
            pace = self._pace.value
        return backlog(now_s, ends_s, self.count, pieces, deadline_s, pace=pace)

    async def run(
        self,
        lane: Lane[Item, Result],
        item: Item,
        *,
        rows: int = 1,
        cost_s: float = 0.0,
        deadline_s: float | None = None,
        keep_late: bool = False,
        then: Callable[[Result], Next[Any]] | None = None,
    ) -> Done[Any]:
        """The lane's result for `item`; `cost_s` is how long it is expected to run by itself.

        `then`, called on the worker's thread, says what follows on the result; the answer is that one's, and `before`
        in it this one's.

        Raises Overloaded if the queue is full, DeadlineExceeded if the work could no longer finish by `deadline_s`
        (monotonic) when its turn came and `keep_late` is off, EngineUnavailable after `close`, and whatever the lane
        raises. Cancelling the caller removes the entry unless a thread already has it.
        """
        loop = asyncio.get_running_loop()
        entry = _Entry(
            deadline_s=math.inf if deadline_s is None else deadline_s,
            sequence=next(self._sequence),
            lane=lane,
            item=item,
            rows=rows,
            cost_s=cost_s,
            keep_late=keep_late,
            loop=loop,
            future=loop.create_future(),
            queued_s=time.monotonic(),
            then=then,
        )
        self._put(entry)
        try:
            return await entry.future
        except BaseException:  # above all the caller's own cancellation
            self._forget(entry)
            raise

    async def close(self) -> None:
        """Fails what waits, lets what runs finish, and returns when every thread has ended."""
        with self._changed:
            self._closed = True
            waiting = [entry for entry in self._queue if entry.state is _State.WAITING]
            for entry in waiting:
                entry.state = _State.GONE
            self._queue.clear()
            self._waiting = 0
            self._changed.notify_all()
        for entry in waiting:
            _fail(entry, EngineUnavailable("the service is shutting down"))
        await asyncio.to_thread(self._join)
        self._handover.hurry()

    def _join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _put(self, entry: _Entry) -> None:
        with self._changed:
            if self._closed:
                raise EngineUnavailable("the service is shutting down")
            if self._waiting >= self._max_waiting:
                raise Overloaded(f"{self._waiting} pieces of work are waiting already", limit=str(self._max_waiting))
            self._man()
            heapq.heappush(self._queue, entry)
            heapq.heappush(entry.lane.waiting, entry)
            self._waiting += 1
            self._changed.notify()

    def _man(self) -> None:
        """One more thread, if fewer than `count` are alive. Raises Overloaded if there is none and none starts."""
        alive = [thread for thread in self._threads if thread.is_alive()]
        if len(alive) < self.count:
            thread = threading.Thread(target=self._live, name=f"worker-{len(alive)}", daemon=True)
            try:
                thread.start()
                alive.append(thread)
            except RuntimeError as err:  # the system allows no more threads
                log.error("no worker thread could be started: %s", err)
                if not alive:
                    raise Overloaded("no worker thread could be started") from err
        self._threads = alive

    def _forget(self, entry: _Entry) -> None:
        with self._changed:
            entry.abandoned = True
            entry = entry.successor or entry
            if entry.state is _State.WAITING:
                entry.state = _State.GONE
                self._waiting -= 1
                if self._waiting * 2 + 64 < len(self._queue):  # mostly cancelled: drop the dead before they pile up
                    self._queue = [e for e in self._queue if e.state is _State.WAITING]
                    heapq.heapify(self._queue)
                    alive = [e for e in entry.lane.waiting if e.state is _State.WAITING]
                    entry.lane.waiting[:] = alive
                    heapq.heapify(entry.lane.waiting)

    def _live(self) -> None:
        """A thread's life. Whatever gets out of the work (something raised into the thread from outside, a bug in the
        queue) is answered to those whose work it held, and ends neither the thread nor its place in the books."""
        step_back(_STEPS_BACK)
        held: list[_Entry] = []
        while True:
            try:
                self._work(held)
                return
            except BaseException as err:
                log.critical("a worker was interrupted by %r; it goes on", err)
                with self._changed:
                    self._running.pop(threading.get_ident(), None)
                for entry in held:
                    _fail(entry, err)
                held.clear()

    def _work(self, held: list[_Entry]) -> None:
        """Works until `close`; `held` has what was taken from the queue and not answered yet."""
        while True:
            if not self._waiting:
                self._handover.hurry()
            with self._changed:
                self._idle += 1
                try:
                    while not self._waiting and not self._closed:
                        self._changed.wait()
                finally:
                    self._idle -= 1
                if self._closed:
                    return
                batch, hopeless = self._take()
                held.extend([*batch, *hopeless])
                if batch:
                    cost_s, began_s = _cost_s(batch), time.monotonic()
                    self._running[threading.get_ident()] = began_s + cost_s
                    self._handover.hurry(held_for_s=_SOON_S if 0.0 < cost_s <= _SOON_S else 0.0)
            for entry in hopeless:
                _fail(entry, DeadlineExceeded("the work could no longer finish in time and was not begun"))
            if batch:
                _run(batch, self._go_on, self._answer)
                with self._changed:
                    self._running.pop(threading.get_ident(), None)
                    self._pace.observe(took_s=time.monotonic() - began_s, expected_s=cost_s)
            held.clear()

    def _answer(self, entry: _Entry, done: Done[Any]) -> None:
        """Hands the result over; how long it was held is part of its wait."""

        def tell(held_s: float) -> None:
            if not entry.future.done():
                told = replace(done, queue_s=done.queue_s + held_s) if held_s else done
                entry.future.set_result(told)

        self._handover.give(entry.loop, tell, may_wait=self._another_comes(entry.deadline_s))

    def _another_comes(self, deadline_s: float) -> bool:
        """Whether an answer may wait for the next: one will be there in a moment, and nobody is in a hurry."""
        now = time.monotonic()
        if deadline_s - now < _UNHURRIED_S or self._waiting < _BACKLOG_A_THREAD * self.count:
            return False
        me = threading.get_ident()
        with self._changed:
            # Half of all runs take longer than expected: a little late is still soon.
            return any(abs(end_s - now) <= _SOON_S for thread, end_s in self._running.items() if thread != me)

    def _go_on(self, entry: _Entry, then: Callable[[Any], Next[Any]], done: Done[Any]) -> None:
        """Queues what follows on the entry, in its place in the queue; this very thread looks there next."""
        try:
            following = then(done.result)
        except Exception as err:
            _fail(entry, err)
            return
        successor = _Entry(
            deadline_s=entry.deadline_s,
            sequence=entry.sequence,
            lane=following.lane,
            item=following.item,
            rows=following.rows,
            cost_s=following.cost_s,
            keep_late=entry.keep_late,
            loop=entry.loop,
            future=entry.future,
            queued_s=time.monotonic(),
            before=done,
        )
        with self._changed:
            if not self._closed and not entry.abandoned:
                entry.successor = successor
                heapq.heappush(self._queue, successor)
                heapq.heappush(successor.lane.waiting, successor)
                self._waiting += 1
                return
        _fail(entry, EngineUnavailable("the service is shutting down"))  # an abandoned future takes no answer

    def _take(self) -> tuple[list[_Entry], list[_Entry]]:
        """The next run, and the entries found on the way that can no longer make it. Called under the lock."""
        hopeless: list[_Entry] = []
        while self._queue:
            head = heapq.heappop(self._queue)
            if head.state is not _State.WAITING:
                continue
            self._claim(head)
            if not head.keep_late and time.monotonic() + head.cost_s > head.deadline_s:
                hopeless.append(head)
                continue
            return self._company_of(head), hopeless
        return [], hopeless

    def _company_of(self, head: _Entry) -> list[_Entry]:
        """`head` with whom it may run; alone if its lane cannot even say how long it takes."""
        try:
            return self._merge(head)
        except Exception:
            log.exception("%s cannot say how long it takes. This is a bug.", head.lane.name)
            return [head]

    def _merge(self, head: _Entry) -> list[_Entry]:
        """`head` and those of its lane that may ride along.

        Only where running together is really faster, no idle thread goes without, and neither `head` nor whoever is
        next in the queue becomes late.
        """
        lane, batch, rows = head.lane, [head], head.rows
        _drop_dead(lane)  # also where nothing can be merged: what was taken must not stay in memory
        if lane.max_rows <= 1:
            return batch
        spare = self._waiting - self._idle
        free_by_s = min(head.deadline_s, self._next_must_begin_s(lane)) - time.monotonic()
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
        others = (e.deadline_s - e.cost_s for e in self._queue if e.lane is not lane and e.state is _State.WAITING)
        return min(others, default=math.inf)

    def _claim(self, entry: _Entry) -> None:
        entry.state = _State.RUNNING
        self._waiting -= 1


def _drop_dead(lane: Lane[Any, Any]) -> bool:
    """Removes taken and cancelled entries from the lane's head; true if a waiting one is left."""
    while lane.waiting and lane.waiting[0].state is not _State.WAITING:
        heapq.heappop(lane.waiting)
    return bool(lane.waiting)


def _pays(lane: Lane[Any, Any], rows: int, more: int) -> bool:
    """True if running them together takes clearly less time than one after the other, or if nothing is known."""
    apart_s = lane.expected_s(rows) + lane.expected_s(more)
    return apart_s == 0.0 or lane.expected_s(rows + more) < _MERGE_GAIN * apart_s


def _cost_s(batch: list[_Entry]) -> float:
    if len(batch) == 1:
        return batch[0].cost_s
    return batch[0].lane.expected_s(sum(entry.rows for entry in batch))


def _run(batch: list[_Entry], go_on: _GoOn, answer: _Answer) -> None:
    lane, started_s = batch[0].lane, time.monotonic()
    try:
        results = lane.run([entry.item for entry in batch])
        if len(results) != len(batch):
            raise AssertionError(f"{lane.name}: {len(results)} results for {len(batch)} items. This is a bug.")
    except BaseException as err:  # a worker thread must survive whatever a decoder or a model throws
        if len(batch) == 1:
            _fail(batch[0], err)
            return
        for entry in batch:  # one bad item must not fail its neighbours
            _run([entry], go_on, answer)
        return
    run_s = time.monotonic() - started_s
    rows = sum(entry.rows for entry in batch)
    for entry, result in zip(batch, results, strict=True):
        done = Done(result, started_s - entry.queued_s, run_s, rows, entry.before)
        if entry.then is not None:
            go_on(entry, entry.then, done)
        else:
            answer(entry, done)


def _fail(entry: _Entry, err: BaseException) -> None:
    # A future takes any Exception but StopIteration; what is none (SystemExit…) would end the event loop.
    ordinary = isinstance(err, Exception) and not isinstance(err, StopIteration)
    error = err if ordinary else RuntimeError(f"{type(err).__name__}: {err}")

    def resolve() -> None:
        if not entry.future.done():
            entry.future.set_exception(error)

    call(entry.loop, resolve)
