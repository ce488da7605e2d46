"""Which thread goes first when all want a core."""

from __future__ import annotations

import contextlib
import os
import threading


def step_back(steps: int) -> None:
    """The calling thread, and those it starts, leave cores to others that want them; each step is a quarter less.

    On Linux a thread has a priority of its own; elsewhere this would slow the whole process down, and nothing is done.
    """
    if not hasattr(os, "setpriority") or os.uname().sysname != "Linux":
        return
    with contextlib.suppress(OSError):
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, min(19, os.getpriority(os.PRIO_PROCESS, thread) + steps))
