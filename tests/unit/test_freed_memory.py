"""What is freed between things that stay is handed back."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import pytest

from service.engines.freed_memory import hand_back

MIB = 1024 * 1024
# Below the size from which glibc asks the system for each piece by itself.
PIECE_BYTES = 64 * 1024


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's heap is meant")
def test_what_lies_between_things_that_stay_is_handed_back() -> None:
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    pieces = [libc.malloc(PIECE_BYTES) for _ in range(2048)]
    for piece in pieces:
        ctypes.memset(piece, 1, PIECE_BYTES)
    stay, go = pieces[15::16], [piece for i, piece in enumerate(pieces) if i % 16 != 15]
    for piece in go:
        libc.free(piece)
    kept = resident_bytes()
    hand_back()
    handed_back = kept - resident_bytes()
    for piece in stay:
        libc.free(piece)
    assert handed_back > 80 * MIB


def test_it_can_be_asked_for_at_any_time() -> None:
    hand_back()
    hand_back()
