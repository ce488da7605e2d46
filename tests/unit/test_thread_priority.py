"""The workers leave the cores to the event loop, and to nobody's harm where that cannot be."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from service.work_queue import Lane
from service.workers import Workers


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux only")
async def test_workers_are_nicer_than_the_event_loop() -> None:
    def niceness(items: list[None]) -> list[int]:
        return [os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) for _ in items]

    workers = Workers(1)
    done = await workers.run(Lane("niceness", niceness), None)
    await workers.close()
    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    assert done.result == min(19, own + 5)
