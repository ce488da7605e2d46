"""Whose folder it is, by a lock that dies with its process. In containers every process id is 1, and says nothing."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform != "win32":
    import fcntl


@contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Whether this block, and nobody else, has the folder; it keeps it under whatever name it is moved to.

    False too where nothing can be locked (Windows, some network volumes): there nobody can know whose it is.
    """
    if sys.platform == "win32":
        yield False
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        yield False
        return
    try:
        ours = False
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = True
        yield ours
    finally:
        os.close(descriptor)
