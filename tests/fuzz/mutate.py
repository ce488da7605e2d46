"""Small harm to bytes, by a seeded generator: the same seed does the same harm."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence

_EDGES = (0, 1, 2, 7, 8, 255, 256, 16_383, 16_384, 16_385, 32_767, 32_768, 65_535)
_MOST_HARMS = 4


def harmed(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """The data with one to four kinds of harm done to it; `others` is what pieces are taken from."""
    for _ in range(rng.randint(1, _MOST_HARMS)):
        data = rng.choice(_HARMS)(data, rng, others)
    return data


def _place(data: bytes, rng: random.Random) -> int:
    """Headers are where it hurts: half of all harm is done to the first 64 bytes."""
    end = min(len(data), 64) if rng.random() < 0.5 else len(data)
    return rng.randrange(end) if end else 0


def _flip(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    out = bytearray(data)
    for at in [_place(data, rng) for _bit in range(rng.randint(1, 8) if data else 0)]:
        out[at] ^= 1 << rng.randrange(8)
    return bytes(out)


def _overwrite(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    at = _place(data, rng)
    return data[:at] + rng.randbytes(rng.randint(1, 16)) + data[at + 16 :]


def _edge(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    """A number at the edge of some range, in two or four bytes, in either order: lengths and sizes are such."""
    at = _place(data, rng)
    form = rng.choice((">H", "<H", ">I", "<I"))
    number = rng.choice(_EDGES) if form[1] == "H" else rng.choice((*_EDGES, 2**31 - 1, 2**31, 2**32 - 1))
    return data[:at] + struct.pack(form, number) + data[at + struct.calcsize(form) :]


def _cut_off(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    return data[: rng.randint(0, len(data))]


def _cut_out(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    at = _place(data, rng)
    return data[:at] + data[at + rng.randint(1, 64) :]


def _insert(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    at = _place(data, rng)
    return data[:at] + rng.randbytes(rng.randint(1, 64)) + data[at:]


def _repeat(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    at = _place(data, rng)
    return data[:at] + data[at : at + rng.randint(1, 256)] * rng.randint(2, 50) + data[at:]


def _splice(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    other = rng.choice(others)
    return data[: rng.randint(0, len(data))] + other[rng.randint(0, len(other)) :]


def _size(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    """Another size in the picture's own header, whose place is known for each format."""
    side = rng.choice((0, 1, 2, 97, 4_000, 16_384, 16_385, 65_535))
    if data[:4] == b"\x89PNG":
        at = rng.choice((16, 20))
        return data[:at] + struct.pack(">I", side) + data[at + 4 :]
    if data[:2] == b"\xff\xd8":
        frame = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
        at = frame + rng.choice((5, 7))
        return data[:at] + struct.pack(">H", side) + data[at + 2 :] if frame > 0 else data
    if data[:4] == b"RIFF":
        return data[:24] + struct.pack("<I", side)[:3] + data[27:]
    return data


_HARMS: tuple[Callable[[bytes, random.Random, Sequence[bytes]], bytes], ...] = (
    *(_flip, _overwrite, _edge, _cut_off, _cut_out, _insert, _repeat, _splice, _size),
)
