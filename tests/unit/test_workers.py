"""The one queue: earliest deadline first, nothing answered twice, nothing lost. With real threads."""

from __future__ import annotations

import asyncio
import gc
import math
import random
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.backlog import UNFORESEEN
from service.errors import BadImage, DeadlineExceeded, EngineUnavailable, Overloaded
from service.work_queue import Done, Lane, Next
from service.workers import Workers

HANG_S = 20.0  # nothing here takes long; this only tells "slow" from "never"


@dataclass
class Recorder:
    """A lane's work: notes what ran, in which company."""

    runs: list[list[Any]] = field(default_factory=list)

    def run(self, items: list[Any]) -> list[Any]:
        self.runs.append(list(items))
        return items

    @property
    def items(self) -> list[Any]:
        return [item for run in self.runs for item in run]


class Gate:
    """Work that keeps a thread busy until the gate opens."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()
        self.lane: Lane[str, str] = Lane("gate", self._run)

    def _run(self, items: list[str]) -> list[str]:
        self.entered.set()
        assert self.open.wait(HANG_S)
        return items

    async def close_behind(self, workers: Workers) -> asyncio.Task[Done[str]]:
        task = asyncio.create_task(workers.run(self.lane, "gate", deadline_s=-math.inf, keep_late=True))
        assert await asyncio.to_thread(self.entered.wait, HANG_S)
        return task


@pytest.fixture
async def one() -> AsyncIterator[Workers]:
    """A single thread, so that the order is the queue's."""
    workers = Workers(1)
    yield workers
    await workers.close()


def later(seconds: float) -> float:
    return time.monotonic() + seconds


async def queued(workers: Workers, count: int) -> None:
    async with asyncio.timeout(HANG_S):
        while workers.waiting < count:  # noqa: ASYNC110  nothing announces it
            await asyncio.sleep(0)


async def test_the_earliest_deadline_goes_first_whatever_the_lane_and_none_goes_last(one: Workers) -> None:
    gate, order = Gate(), Recorder()
    lanes = [Lane("a", order.run), Lane("b", order.run)]
    running = await gate.close_behind(one)
    deadlines = [later(50), None, later(20), later(90), later(10), None, later(70)]
    tasks = [asyncio.create_task(one.run(lanes[i % 2], i, deadline_s=deadline)) for i, deadline in enumerate(deadlines)]
    await queued(one, len(tasks))
    gate.open.set()
    await asyncio.gather(running, *tasks)
    assert order.items == [4, 2, 0, 6, 3, 1, 5]


@settings(max_examples=25, deadline=None)
@given(deadlines=st.lists(st.integers(100, 110), min_size=1, max_size=30))
def test_equal_deadlines_keep_their_order(deadlines: list[int]) -> None:
    async def scenario() -> list[int]:
        workers, gate, order = Workers(1), Gate(), Recorder()
        lane: Lane[int, int] = Lane("lane", order.run)
        running = await gate.close_behind(workers)
        now = time.monotonic()
        tasks = [asyncio.create_task(workers.run(lane, i, deadline_s=now + d)) for i, d in enumerate(deadlines)]
        await queued(workers, len(tasks))
        gate.open.set()
        await asyncio.gather(running, *tasks)
        await workers.close()
        return order.items

    assert asyncio.run(scenario()) == sorted(range(len(deadlines)), key=lambda i: (deadlines[i], i))


async def test_the_result_comes_with_its_times(one: Workers) -> None:
    def slowly(items: list[int]) -> list[int]:
        time.sleep(0.02)
        return [item * 2 for item in items]

    done = await one.run(Lane("slow", slowly), 21)
    assert done.result == 42
    assert 0.02 <= done.run_s < HANG_S
    assert 0 <= done.queue_s < HANG_S
    assert done.batch_rows == 1


async def test_cancelled_work_never_runs(one: Workers) -> None:
    gate, order = Gate(), Recorder()
    lane: Lane[int, int] = Lane("lane", order.run, max_rows=4)
    running = await gate.close_behind(one)
    tasks = [asyncio.create_task(one.run(lane, i)) for i in range(200)]
    await queued(one, 200)
    for task in tasks[::2] + tasks[1:150:2]:
        task.cancel()
    await asyncio.gather(*tasks[:150], return_exceptions=True)
    await asyncio.sleep(0)
    assert one.waiting == 25, "cancelled entries leave the count at once"
    gate.open.set()
    await running
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert order.items == list(range(151, 200, 2))
    assert sum(isinstance(answer, asyncio.CancelledError) for answer in answers) == 175


async def test_of_cancelled_work_nothing_stays_in_memory_while_others_wait(one: Workers) -> None:
    class Picture:
        pass

    gate, lane = Gate(), Lane[Any, Any]("pictures", lambda items: items)
    running = await gate.close_behind(one)
    tasks, pictures = [], weakref.WeakSet[Picture]()
    for _ in range(10):
        picture = Picture()
        pictures.add(picture)
        tasks.append(asyncio.create_task(one.run(lane, picture, deadline_s=later(HANG_S))))
    del picture
    await queued(one, 10)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    tasks.clear()
    del task
    gc.collect()
    assert one.waiting == 0
    assert len(pictures) == 0
    gate.open.set()
    await running


async def test_hopeless_work_is_dropped_before_it_costs_anything(one: Workers) -> None:
    order = Recorder()
    lane: Lane[str, str] = Lane("lane", order.run)
    with pytest.raises(DeadlineExceeded, match="not begun"):
        await one.run(lane, "needs longer than it has", cost_s=10.0, deadline_s=later(1))
    with pytest.raises(DeadlineExceeded):
        await one.run(lane, "is late already", deadline_s=later(-1))
    assert order.runs == []
    assert (await one.run(lane, "has time", cost_s=1.0, deadline_s=later(HANG_S))).result == "has time"


async def test_late_work_that_is_wanted_all_the_same_runs(one: Workers) -> None:
    order = Recorder()
    done = await one.run(Lane("lane", order.run), "late", cost_s=10.0, deadline_s=later(-1), keep_late=True)
    assert done.result == "late"


async def merged_runs(
    workers: Workers, lane: Lane[int, int], recorder: Recorder, rows: list[int], deadlines: list[float | None]
) -> list[list[int]]:
    """How the lane's entries 0, 1, 2… were put together, when all of them waited at once."""
    gate = Gate()
    running = await gate.close_behind(workers)
    tasks = [
        asyncio.create_task(workers.run(lane, i, rows=count, deadline_s=deadline))
        for i, (count, deadline) in enumerate(zip(rows, deadlines, strict=True))
    ]
    await queued(workers, len(tasks))
    gate.open.set()
    await asyncio.gather(running, *tasks)
    return recorder.runs


async def test_waiting_work_of_one_lane_runs_together_up_to_its_rows(one: Workers) -> None:
    recorder = Recorder()
    lane: Lane[int, int] = Lane("lane", recorder.run, max_rows=4)
    runs = await merged_runs(one, lane, recorder, [1, 1, 2, 1, 1, 3, 1], [None] * 7)
    assert runs == [[0, 1, 2], [3, 4], [5, 6]]


async def test_every_row_of_the_run_is_counted(one: Workers) -> None:
    gate, recorder = Gate(), Recorder()
    lane: Lane[int, int] = Lane("lane", recorder.run, max_rows=8)
    running = await gate.close_behind(one)
    tasks = [asyncio.create_task(one.run(lane, i, rows=2)) for i in range(3)]
    await queued(one, 3)
    gate.open.set()
    await running
    assert [done.batch_rows for done in await asyncio.gather(*tasks)] == [6, 6, 6]


async def test_lanes_are_never_mixed(one: Workers) -> None:
    gate, left, right = Gate(), Recorder(), Recorder()
    lanes: list[Lane[int, int]] = [Lane("left", left.run, max_rows=9), Lane("right", right.run, max_rows=9)]
    running = await gate.close_behind(one)
    tasks = [asyncio.create_task(one.run(lanes[i % 2], i)) for i in range(10)]
    await queued(one, 10)
    gate.open.set()
    await asyncio.gather(running, *tasks)
    assert sorted(left.items) == [0, 2, 4, 6, 8]
    assert sorted(right.items) == [1, 3, 5, 7, 9]


async def test_merging_breaks_no_deadline(one: Workers) -> None:
    recorder = Recorder()
    lane: Lane[int, int] = Lane("lane", recorder.run, max_rows=100, expected_s=lambda rows: 8.0 + rows * 6.0)
    urgent, patient = later(25), later(10_000)  # two rows fit before the urgent one's deadline, three do not
    runs = await merged_runs(one, lane, recorder, [1] * 5, [urgent, *[patient] * 4])
    assert runs[0] == [0, 1]
    assert sorted(recorder.items) == [0, 1, 2, 3, 4]


async def test_work_that_gains_nothing_from_company_runs_alone(one: Workers) -> None:
    recorder = Recorder()
    lane: Lane[int, int] = Lane("lane", recorder.run, max_rows=100, expected_s=lambda rows: 0.01 + rows * 1.0)
    assert await merged_runs(one, lane, recorder, [1] * 4, [None] * 4) == [[0], [1], [2], [3]]


async def test_a_lane_that_cannot_tell_its_time_still_runs(one: Workers, caplog: pytest.LogCaptureFixture) -> None:
    def broken(rows: int) -> float:
        raise ZeroDivisionError("on purpose")

    recorder = Recorder()
    lane: Lane[int, int] = Lane("lane", recorder.run, max_rows=100, expected_s=broken)
    assert await merged_runs(one, lane, recorder, [1] * 3, [None] * 3) == [[0], [1], [2]]
    assert "This is a bug" in caplog.text


async def test_merging_makes_nobody_else_late(one: Workers) -> None:
    gate, recorder = Gate(), Recorder()
    merging: Lane[int, int] = Lane("merging", recorder.run, max_rows=9, expected_s=lambda rows: 8.0 + rows * 6.0)
    other: Lane[int, int] = Lane("other", recorder.run)
    running = await gate.close_behind(one)
    # Two of the lane fit before the other must begin, three do not.
    tasks = [asyncio.create_task(one.run(merging, i, deadline_s=later(100))) for i in range(3)]
    tasks.append(asyncio.create_task(one.run(other, 9, cost_s=80.0, deadline_s=later(103))))
    await queued(one, 4)
    gate.open.set()
    await asyncio.gather(running, *tasks)
    assert [len(run) for run in recorder.runs if 9 not in run] == [2, 1]


async def test_an_idle_thread_gets_its_share_before_runs_grow() -> None:
    """Two threads, two pieces of work at once: one each, rather than both on one."""
    workers = Workers(2)
    barrier = threading.Barrier(2, timeout=HANG_S)

    def meet(items: list[int]) -> list[int]:
        if items != [-1]:
            barrier.wait()
        return items

    lane: Lane[int, int] = Lane("lane", meet, max_rows=8)
    await asyncio.gather(*[workers.run(Lane("start", meet), -1) for _ in range(2)])
    async with asyncio.timeout(HANG_S):
        while workers.idle < 2:  # noqa: ASYNC110  (threads have no asyncio.Event to set)
            await asyncio.sleep(0.01)
        done = await asyncio.gather(workers.run(lane, 0), workers.run(lane, 1))
    assert [each.batch_rows for each in done] == [1, 1]
    await workers.close()


async def test_one_bad_item_fails_alone(one: Workers) -> None:
    gate = Gate()

    def picky(items: list[int]) -> list[int]:
        if 3 in items:
            raise BadImage("3 is bad")
        return [item * 10 for item in items]

    lane: Lane[int, int] = Lane("picky", picky, max_rows=8)
    running = await gate.close_behind(one)
    tasks = [asyncio.create_task(one.run(lane, i)) for i in range(6)]
    await queued(one, 6)
    gate.open.set()
    await running
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(answers[3], BadImage)
    assert [answer.result for answer in answers if isinstance(answer, Done)] == [0, 10, 20, 40, 50]


@pytest.mark.parametrize(
    "error", [SystemExit, KeyboardInterrupt, StopIteration, GeneratorExit, MemoryError, ValueError]
)
async def test_whatever_a_lane_raises_is_answered_and_the_thread_lives(
    one: Workers, error: type[BaseException]
) -> None:
    def fail(items: list[int]) -> list[int]:
        raise error("on purpose")

    for _ in range(2):
        async with asyncio.timeout(HANG_S):
            with pytest.raises(Exception, match="on purpose"):
                await one.run(Lane("failing", fail), 1)
    assert (await one.run(Lane("works", Recorder().run), "alive")).result == "alive"
    assert threading.active_count() >= 2


async def test_a_lane_that_miscounts_is_answered_with_an_error(one: Workers) -> None:
    with pytest.raises(AssertionError, match="2 results for 1 items"):
        await one.run(Lane("miscounting", lambda items: [*items, "more"]), "item")


async def test_closing_fails_what_waits_lets_finish_what_runs_and_ends_the_threads() -> None:
    workers, gate, order = Workers(1), Gate(), Recorder()
    running = await gate.close_behind(workers)
    waiting = [asyncio.create_task(workers.run(Lane("lane", order.run), i)) for i in range(5)]
    await queued(workers, 5)
    closing = asyncio.create_task(workers.close())
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(answer, EngineUnavailable) for answer in answers)
    assert not closing.done(), "something still runs"
    gate.open.set()
    async with asyncio.timeout(HANG_S):
        assert (await running).result == "gate"
        await closing
    assert not any(thread.is_alive() for thread in workers._threads.values())
    assert order.runs == []
    with pytest.raises(EngineUnavailable):
        await workers.run(Lane("lane", order.run), "too late")
    await workers.close()


async def test_beyond_the_queue_s_bound_it_is_overloaded() -> None:
    workers, gate = Workers(1, max_waiting=3), Gate()
    lane: Lane[int, int] = Lane("lane", Recorder().run)
    running = await gate.close_behind(workers)
    tasks = [asyncio.create_task(workers.run(lane, i)) for i in range(3)]
    await queued(workers, 3)
    with pytest.raises(Overloaded) as raised:
        await workers.run(lane, 3)
    assert raised.value.limit == "3"
    tasks[0].cancel()
    await asyncio.gather(tasks[0], return_exceptions=True)
    tasks.append(asyncio.create_task(workers.run(lane, 4)))
    await queued(workers, 3)
    gate.open.set()
    await running
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [answer.result for answer in answers if isinstance(answer, Done)] == [1, 2, 4]
    await workers.close()


@pytest.mark.parametrize("max_rows", [1, 8])
async def test_nothing_that_was_answered_stays_in_memory(one: Workers, max_rows: int) -> None:
    class Heavy:
        pass

    lane: Lane[Heavy, int] = Lane("lane", lambda items: [1] * len(items), max_rows=max_rows)
    alive: list[weakref.ref[Heavy]] = []
    for _ in range(50):
        item = Heavy()
        alive.append(weakref.ref(item))
        await one.run(lane, item)
    del item
    gc.collect()
    assert sum(reference() is not None for reference in alive) <= 2
    assert len(lane.waiting) <= 1


async def test_the_backlog_is_the_work_with_earlier_deadlines(one: Workers) -> None:
    gate = Gate()
    lane: Lane[int, int] = Lane("lane", Recorder().run)
    assert one.backlog(later(1)).wait_s == 0
    assert one.backlog(later(1)).room_s == math.inf
    running = await gate.close_behind(one)
    tasks = [
        asyncio.create_task(one.run(lane, 0, cost_s=2.0, deadline_s=later(100))),
        asyncio.create_task(one.run(lane, 1, cost_s=3.0, deadline_s=later(200))),
    ]
    await queued(one, 2)
    assert one.backlog(later(50)).wait_s == pytest.approx(0, abs=0.01)
    assert one.backlog(later(150)).wait_s == pytest.approx(2, abs=0.01)
    assert one.backlog(later(250)).wait_s == pytest.approx(5, abs=0.01)
    slack_s = 100 / UNFORESEEN - 2
    assert one.backlog(later(50)).room_s == pytest.approx(slack_s, abs=1), "until the first admitted one is late"
    assert one.backlog(later(250)).room_s == math.inf
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert one.backlog(later(250)).wait_s == 0, "who has gone is waited for by nobody"
    gate.open.set()
    await running


async def test_a_caller_whose_event_loop_is_gone_harms_nobody(one: Workers) -> None:
    gate, order = Gate(), Recorder()
    lane: Lane[str, str] = Lane("lane", order.run)
    running = await gate.close_behind(one)

    def ask_and_vanish() -> None:
        loop = asyncio.new_event_loop()
        abandoned.append(loop.create_task(one.run(lane, "orphan")))
        loop.run_until_complete(queued(one, 1))
        loop.close()

    abandoned: list[asyncio.Task[Done[str]]] = []
    await asyncio.to_thread(ask_and_vanish)
    gate.open.set()
    await running
    assert (await one.run(lane, "alive")).result == "alive"
    abandoned[0]._log_destroy_pending = False  # type: ignore[attr-defined]


@pytest.mark.parametrize("seed", range(6))
async def test_in_a_storm_of_threads_and_cancellations_everything_is_answered_exactly_once(seed: int) -> None:
    """Callers give up at random moments; what ran, ran once; what was not cancelled has its own answer."""
    rng = random.Random(seed)
    ran: Counter[int] = Counter()
    lock = threading.Lock()

    def work(items: list[int]) -> list[int]:
        with lock:
            ran.update(items)
        if rng.random() < 0.1:
            time.sleep(0.001)
        bad = [item for item in items if item % 17 == 0]
        if bad:
            raise BadImage("bad")
        return [item * 3 for item in items]

    workers = Workers(4)
    lanes: list[Lane[int, int]] = [Lane(str(i), work, max_rows=rows) for i, rows in enumerate((1, 4, 32))]
    switch_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        tasks = []
        for i in range(600):
            deadline_s = rng.choice([None, later(60), later(rng.uniform(60, 90))])
            tasks.append(asyncio.create_task(workers.run(rng.choice(lanes), i, deadline_s=deadline_s)))
            if rng.random() < 0.3:
                rng.choice(tasks).cancel()
            if rng.random() < 0.1:
                await asyncio.sleep(0.0005)
        async with asyncio.timeout(HANG_S):
            answers = await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        sys.setswitchinterval(switch_s)
        await workers.close()
    for i, answer in enumerate(answers):
        if isinstance(answer, Done):
            assert answer.result == i * 3
        else:
            assert isinstance(answer, BadImage if i % 17 == 0 and not tasks[i].cancelled() else asyncio.CancelledError)
    # A run that failed is repeated item by item, so company of a bad item may run twice; nothing runs more often.
    assert all(count <= 2 for count in ran.values())
    assert workers.waiting == 0
    assert workers.backlog(later(1)).wait_s == 0


async def test_what_follows_runs_on_the_result_and_its_answer_tells_of_both() -> None:
    workers = Workers(1)
    first: Lane[int, int] = Lane("first", lambda items: [item + 1 for item in items])
    second: Lane[int, int] = Lane("second", lambda items: [item * 10 for item in items])
    done = await workers.run(first, 4, then=lambda result: Next(second, result, rows=1, cost_s=0.0))
    assert done.result == 50
    assert done.before is not None
    assert done.before.result == 5
    await workers.close()


async def test_what_follows_keeps_its_place_before_those_who_came_later() -> None:
    workers, gate, recorder = Workers(1), Gate(), Recorder()
    lane = Lane("work", recorder.run)
    busy = await gate.close_behind(workers)
    chained = asyncio.create_task(workers.run(lane, "a", then=lambda result: Next(lane, "a, then", 1, 0.0)))
    await asyncio.sleep(0)
    later = asyncio.create_task(workers.run(lane, "b"))
    await asyncio.sleep(0)
    gate.open.set()
    await asyncio.gather(busy, chained, later)
    assert recorder.items == ["a", "a, then", "b"]
    await workers.close()


async def test_a_caller_that_leaves_between_the_two_takes_the_second_along() -> None:
    workers, gate, recorder = Workers(1), Gate(), Recorder()
    lane = Lane("work", recorder.run)
    task = asyncio.create_task(workers.run(gate.lane, "first", then=lambda result: Next(lane, "second", 1, 0.0)))
    assert await asyncio.to_thread(gate.entered.wait, HANG_S)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.open.set()
    await workers.run(lane, "after")
    assert recorder.items == ["after"]
    assert workers.waiting == 0
    await workers.close()


async def test_a_failure_of_what_says_what_follows_is_the_caller_s() -> None:
    workers, recorder = Workers(1), Recorder()

    def then(result: str) -> Next[str]:
        raise BadImage("no")

    with pytest.raises(BadImage):
        await workers.run(Lane("work", recorder.run), "first", then=then)
    await workers.close()


async def test_what_would_follow_after_closing_fails_as_unavailable() -> None:
    workers, gate, recorder = Workers(1), Gate(), Recorder()
    work = workers.run(gate.lane, "first", then=lambda result: Next(Lane("second", recorder.run), "second", 1, 0.0))
    task = asyncio.create_task(work)
    assert await asyncio.to_thread(gate.entered.wait, HANG_S)
    closing = asyncio.create_task(workers.close())
    await asyncio.sleep(0.01)
    gate.open.set()
    with pytest.raises(EngineUnavailable):
        await task
    await closing
    assert recorder.items == []


async def test_a_worker_knows_whether_it_is_alone() -> None:
    workers, gate = Workers(2), Gate()
    lane: Lane[str, bool] = Lane("ask", lambda items: [workers.alone for _ in items])
    assert (await workers.run(lane, "alone")).result
    busy = await gate.close_behind(workers)
    assert not (await workers.run(lane, "beside another")).result
    gate.open.set()
    await busy
    await workers.close()
