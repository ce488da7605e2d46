"""Memory that was freed, handed back to the system.

glibc keeps what is freed in its heaps, in pieces that the next model seldom fits: where models come and go the process
grows though nothing leaks.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache


def hand_back() -> None:
    """Takes milliseconds. Does nothing where the C library has no `malloc_trim` (musl, macOS, Windows)."""
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # Windows takes no None
        return None
    return trim
