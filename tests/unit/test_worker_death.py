"""Something raised into a worker thread from outside: nobody waits for ever, and the pool is whole again."""

from __future__ import annotations

import asyncio
import ctypes
import threading
import time
from collections.abc import AsyncIterator

import pytest

from service.errors import Overloaded
from service.work_queue import Lane
from service.workers import Workers

HANG_S = 20.0


class Killed(BaseException):
    """No Exception: nothing that catches those stops it."""


@pytest.fixture
async def one() -> AsyncIterator[Workers]:
    workers = Workers(1)
    yield workers
    await workers.close()


def echo(items: list[int]) -> list[int]:
    return items


def raise_in(thread: threading.Thread) -> None:
    """The exception comes up in the thread as soon as it runs Python again."""
    assert thread.ident is not None
    assert ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(Killed)) == 1


async def test_a_thread_struck_while_it_waits_for_work_goes_on(one: Workers) -> None:
    lane: Lane[int, int] = Lane("lane", echo)
    await one.run(lane, 0)
    for _ in range(3):
        async with asyncio.timeout(HANG_S):
            while one.idle < 1:  # noqa: ASYNC110  threads have no asyncio.Event to set
                await asyncio.sleep(0.01)
            raise_in(one._threads[0])
            answers = await asyncio.gather(*[one.run(lane, i) for i in range(4)], return_exceptions=True)
        # Whatever it held when it was struck is answered with an error, the rest as always.
        assert sum(not isinstance(answer, BaseException) for answer in answers) >= 3
    assert one.waiting == 0
    async with asyncio.timeout(HANG_S):
        while one.idle < 1:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert one.idle == 1, "counted as idle once"
    assert one.backlog(time.monotonic() + 1).wait_s == 0.0


async def test_a_thread_struck_while_it_works_answers_with_an_error(one: Workers) -> None:
    entered = threading.Event()

    def busy(items: list[int]) -> list[int]:
        entered.set()
        until_s = time.monotonic() + HANG_S
        while time.monotonic() < until_s:
            time.sleep(0.001)
        return items

    running = asyncio.create_task(one.run(Lane("busy", busy), 1))
    assert await asyncio.to_thread(entered.wait, HANG_S)
    raise_in(one._threads[0])
    async with asyncio.timeout(HANG_S):
        with pytest.raises(RuntimeError, match="Killed"):
            await running
        assert (await one.run(Lane("lane", echo), 2)).result == 2


async def test_a_thread_that_is_gone_is_replaced(one: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the interpreter could not keep it: it is dead, and no code of ours has run."""
    dead = threading.Thread(target=lambda: None)
    dead.start()
    dead.join()
    one._threads[0] = dead
    async with asyncio.timeout(HANG_S):
        assert (await one.run(Lane("lane", echo), 1)).result == 1
    assert [thread.is_alive() for thread in one._threads.values()] == [True]


async def test_where_no_thread_can_be_started_it_says_so(one: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(Overloaded):
            await one.run(Lane("lane", echo), 1)
    assert one.waiting == 0
    async with asyncio.timeout(HANG_S):
        assert (await one.run(Lane("lane", echo), 1)).result == 1
