"""One thread per core, one queue, earliest deadline first: everything that costs processor time goes through here.

Decoding and inference share the threads, so the cores are never oversubscribed and the wait of a new request is one
number: the work with earlier deadlines, divided by the threads.

Only the thread that took an entry from the queue may answer it, and the queue (service/work_queue.py) is touched under
one lock: nothing is answered twice, cancelled work never runs.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from service.backlog import Backlog, backlog
from service.cores import OwnCore
from service.errors import DeadlineExceeded, EngineUnavailable, Overloaded
from service.handover import Handover, call
from service.thread_priority import step_back
from service.tracked import TrackedPace
from service.work_queue import Done, Entry, Item, Lane, Next, Result, WorkQueue, cost_s

log = logging.getLogger(__name__)

# An answer waits for others to go with it only if so much work waits for each thread, if another thread is about to be
# through, and if its own deadline is further away than `_UNHURRIED_S`; and hardly longer than `_SOON_S`.
_BACKLOG_A_THREAD = 2
_SOON_S = 0.02
_UNHURRIED_S = 0.05
# There is a thread for each core, so the event loop has none of its own: what it hands out and takes back would wait
# behind whole runs of models.
_STEPS_BACK = 5

_GoOn = Callable[[Entry, Callable[[Any], Next[Any]], Done[Any]], None]
_Answer = Callable[[Entry, Done[Any]], None]


class Workers:
    """`count` threads that always take the entry with the earliest deadline. Threads start with the first `run`.

    cores  a core for each thread, on which it stays while work waits; none: they run where there is room
    """

    def __init__(self, count: int, *, max_waiting: int = 4096, cores: Sequence[int] = ()) -> None:
        self.count = count
        self._cores = cores
        self._max_waiting = max_waiting
        self._changed = threading.Condition()
        self._queue = WorkQueue()
        self._idle = 0
        self._running: dict[int, float] = {}
        self._announced: dict[int, tuple[float, float]] = {}
        self._sequence = itertools.count()
        self._threads: dict[int, threading.Thread] = {}
        self._handover = Handover()
        self._pace = TrackedPace()
        self._closed = False

    @property
    def waiting(self) -> int:
        """Entries that no thread has taken yet."""
        return len(self._queue)

    @property
    def idle(self) -> int:
        """Threads that wait for work."""
        return self._idle

    @property
    def alone(self) -> bool:
        """Asked by a worker: nothing else runs or waits, so the other cores have nothing to do."""
        return not self._queue and len(self._running) == 1

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
            pieces = [*self._queue.pieces(), *self._announced.values()]
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
        entry = Entry(
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
            waiting = self._queue.empty()
            self._changed.notify_all()
        for entry in waiting:
            _fail(entry, EngineUnavailable("the service is shutting down"))
        await asyncio.to_thread(self._join)
        self._handover.hurry()

    def _join(self) -> None:
        for thread in self._threads.values():
            thread.join()

    def _put(self, entry: Entry) -> None:
        with self._changed:
            if self._closed:
                raise EngineUnavailable("the service is shutting down")
            if len(self._queue) >= self._max_waiting:
                raise Overloaded(f"{len(self._queue)} pieces of work are waiting already", limit=str(self._max_waiting))
            self._man()
            self._queue.put(entry)
            self._changed.notify()

    def _man(self) -> None:
        """One more thread, if fewer than `count` are alive. Raises Overloaded if there is none and none starts."""
        for place in range(self.count):
            if place in self._threads and self._threads[place].is_alive():
                continue
            thread = threading.Thread(target=self._live, args=(place,), name=f"worker-{place}", daemon=True)
            try:
                thread.start()
                self._threads[place] = thread
            except RuntimeError as err:  # the system allows no more threads
                log.error("no worker thread could be started: %s", err)
                if not any(other.is_alive() for other in self._threads.values()):
                    raise Overloaded("no worker thread could be started") from err
            return

    def _forget(self, entry: Entry) -> None:
        with self._changed:
            self._queue.give_up(entry)

    def _live(self, place: int) -> None:
        """A thread's life. Whatever gets out of the work (something raised into the thread from outside, a bug in the
        queue) is answered to those whose work it held, and ends neither the thread nor its place in the books."""
        step_back(_STEPS_BACK)
        own_core = OwnCore(self._cores[place] if self._cores else None)
        held: list[Entry] = []
        while True:
            try:
                self._work(held, own_core)
                return
            except BaseException as err:
                log.critical("a worker was interrupted by %r; it goes on", err)
                with self._changed:
                    self._running.pop(threading.get_ident(), None)
                for entry in held:
                    _fail(entry, err)
                held.clear()

    def _work(self, held: list[Entry], own_core: OwnCore) -> None:
        """Works until `close`; `held` has what was taken from the queue and not answered yet."""
        while True:
            if not self._queue:
                self._handover.hurry()
            with self._changed:
                self._idle += 1
                try:
                    while not self._queue and not self._closed:
                        own_core.leave()
                        self._changed.wait()
                finally:
                    self._idle -= 1
                if self._closed:
                    return
                batch, hopeless = self._queue.take(time.monotonic(), self._idle)
                held.extend([*batch, *hopeless])
                if batch:
                    expected_s, began_s = cost_s(batch), time.monotonic()
                    self._running[threading.get_ident()] = began_s + expected_s
                    self._handover.hurry(held_for_s=_SOON_S if 0.0 < expected_s <= _SOON_S else 0.0)
            if self._queue:
                own_core.keep()
            for entry in hopeless:
                _fail(entry, DeadlineExceeded("the work could no longer finish in time and was not begun"))
            if batch:
                _run(batch, self._go_on, self._answer)
                with self._changed:
                    self._running.pop(threading.get_ident(), None)
                    self._pace.observe(took_s=time.monotonic() - began_s, expected_s=expected_s)
            held.clear()

    def _answer(self, entry: Entry, done: Done[Any]) -> None:
        """Hands the result over; how long it was held is part of its wait."""

        def tell(held_s: float) -> None:
            if not entry.future.done():
                told = replace(done, queue_s=done.queue_s + held_s) if held_s else done
                entry.future.set_result(told)

        self._handover.give(entry.loop, tell, may_wait=self._another_comes(entry.deadline_s))

    def _another_comes(self, deadline_s: float) -> bool:
        """Whether an answer may wait for the next: one will be there in a moment, and nobody is in a hurry."""
        now = time.monotonic()
        if deadline_s - now < _UNHURRIED_S or len(self._queue) < _BACKLOG_A_THREAD * self.count:
            return False
        me = threading.get_ident()
        with self._changed:
            # Half of all runs take longer than expected: a little late is still soon.
            return any(abs(end_s - now) <= _SOON_S for thread, end_s in self._running.items() if thread != me)

    def _go_on(self, entry: Entry, then: Callable[[Any], Next[Any]], done: Done[Any]) -> None:
        """Queues what follows on the entry, in its place in the queue; this very thread looks there next."""
        try:
            following = then(done.result)
        except Exception as err:
            _fail(entry, err)
            return
        successor = Entry(
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
                self._queue.put(successor)
                return
        _fail(entry, EngineUnavailable("the service is shutting down"))  # an abandoned future takes no answer


def _run(batch: list[Entry], go_on: _GoOn, answer: _Answer) -> None:
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


def _fail(entry: Entry, err: BaseException) -> None:
    # A future takes any Exception but StopIteration; what is none (SystemExit…) would end the event loop.
    ordinary = isinstance(err, Exception) and not isinstance(err, StopIteration)
    error = err if ordinary else RuntimeError(f"{type(err).__name__}: {err}")

    def resolve() -> None:
        if not entry.future.done():
            entry.future.set_exception(error)

    call(entry.loop, resolve)
