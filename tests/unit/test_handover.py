"""Answers go together only where that makes nobody wait for long, and none is ever left behind."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from service.handover import Handover
from service.work_queue import Done, Lane
from service.workers import Workers

HANG_S = 20.0
RUN_S = 0.004


async def test_one_that_may_not_wait_is_told_at_once() -> None:
    told: list[str] = []
    handover = Handover()
    handover.give(asyncio.get_running_loop(), lambda held_s: told.append("first"), may_wait=False)
    await asyncio.sleep(0)
    assert told == ["first"]


async def test_those_that_may_wait_go_four_at_a_time_and_in_order() -> None:
    told: list[tuple[int, bool]] = []
    handover, loop = Handover(), asyncio.get_running_loop()

    def give(number: int, *, may_wait: bool = True) -> None:
        handover.give(loop, lambda held_s: told.append((number, held_s > 0)), may_wait=may_wait)

    for number in range(3):
        give(number)
    await asyncio.sleep(0.01)
    assert told == []
    give(3)
    await asyncio.sleep(0)
    assert told == [(0, True), (1, True), (2, True), (3, False)]
    give(4)
    give(5, may_wait=False)
    await asyncio.sleep(0)
    assert [number for number, _ in told] == [0, 1, 2, 3, 4, 5]


async def test_what_has_been_held_for_too_long_goes_alone() -> None:
    told: list[float] = []
    handover = Handover()
    handover.give(asyncio.get_running_loop(), told.append, may_wait=True)
    handover.hurry(held_for_s=HANG_S)
    await asyncio.sleep(0.01)
    assert told == []
    handover.hurry(held_for_s=0.01)
    await asyncio.sleep(0)
    assert len(told) == 1


async def test_what_is_held_goes_when_it_is_hurried() -> None:
    told: list[float] = []
    handover = Handover()
    handover.give(asyncio.get_running_loop(), told.append, may_wait=True)
    handover.hurry()
    handover.hurry()
    await asyncio.sleep(0)
    assert len(told) == 1


async def test_a_closed_loop_keeps_nothing_from_the_others() -> None:
    told: list[float] = []
    closed = asyncio.new_event_loop()
    closed.close()
    handover = Handover()
    handover.give(closed, told.append, may_wait=True)
    handover.give(asyncio.get_running_loop(), told.append, may_wait=False)
    await asyncio.sleep(0)
    assert len(told) == 1


@pytest.fixture
async def two() -> AsyncIterator[Workers]:
    workers = Workers(2)
    yield workers
    await workers.close()


def _when(opened: threading.Event) -> Callable[[list[int]], list[int]]:
    def wait(items: list[int]) -> list[int]:
        assert opened.wait(HANG_S)
        return items

    return wait


def _sleeping(items: list[int]) -> list[int]:
    time.sleep(RUN_S)
    return items


@pytest.mark.parametrize(("asked", "in_s", "together"), [(60, 60.0, True), (60, 0.02, False), (3, 60.0, False)])
async def test_together_under_backlog_but_not_in_a_hurry_and_not_for_few(
    two: Workers, monkeypatch: pytest.MonkeyPatch, asked: int, in_s: float, together: bool
) -> None:
    might_wait: list[bool] = []
    give = two._handover.give

    def noted(loop: Any, tell: Any, *, may_wait: bool) -> None:
        might_wait.append(may_wait)
        give(loop, tell, may_wait=may_wait)

    monkeypatch.setattr(two._handover, "give", noted)
    lane = Lane("sleep", _sleeping)
    work = (two.run(lane, 0, cost_s=RUN_S, deadline_s=time.monotonic() + in_s, keep_late=True) for _ in range(asked))
    async with asyncio.timeout(HANG_S):
        done: list[Done[int]] = await asyncio.gather(*work)
    assert (len(done), len(might_wait)) == (asked, asked)
    assert any(might_wait) is together
    assert not any(might_wait[-3:])


async def test_an_answer_does_not_wait_for_a_thread_that_is_stuck(two: Workers) -> None:
    """The other thread goes on, and takes it along."""
    opened = threading.Event()
    stuck: Lane[int, int] = Lane("stuck", _when(opened))
    blocked = asyncio.create_task(two.run(stuck, 0, cost_s=RUN_S, deadline_s=0.0, keep_late=True))
    async with asyncio.timeout(HANG_S / 2):
        await asyncio.gather(*(two.run(Lane("sleep", _sleeping), 0, cost_s=RUN_S) for _ in range(20)))
    opened.set()
    await blocked


async def test_an_answer_does_not_wait_for_a_long_run(two: Workers) -> None:
    """One thread after the other takes work of a second: what was finished before is told before."""
    began_s = time.monotonic()

    def slow(items: list[int]) -> list[int]:
        time.sleep(0.5)
        return items

    short = [asyncio.create_task(two.run(Lane("sleep", _sleeping), 0, cost_s=RUN_S, deadline_s=1e9)) for _ in range(3)]
    long = [asyncio.create_task(two.run(Lane("slow", slow), 0, cost_s=0.5, deadline_s=2e9)) for _ in range(4)]
    await asyncio.gather(*short)
    assert time.monotonic() - began_s < 0.4
    await asyncio.gather(*long)
