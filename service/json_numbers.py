"""Long arrays of numbers in JSON, read and written without keeping the event loop from running.

A JSON parser makes a Python object of every number, and holds the interpreter while it does: 60 ms for four pictures of
224×224, and as long again to make an array of the list. So the arrays called `data` are cut out of the text before it
is parsed, and read in pieces by NumPy, in a tenth of the time. Both directions run on a worker and let go of the
interpreter after every piece.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Iterator

import numpy as np
import pydantic_core
from numpy.typing import NDArray

_READ_BYTES = 32 * 1024
_WRITE_NUMBERS = 4096
# In JSON only the opening quote of a key can stand there: inside of a string it would have a backslash before it.
_DATA = re.compile(rb'"data"\s*:\s*\[')
_NO_BRACKETS = bytes.maketrans(b"[]", b"  ")
# Stands in the text for what was cut out; nobody else can write it.
_MARK = f"cut:{secrets.token_hex(8)}:"


def cut_out(text: bytes | bytearray) -> tuple[bytes, list[memoryview]]:
    """The JSON text with a mark for every array `data` that holds nothing but numbers, and these arrays' texts."""
    kept: list[bytes] = []
    cut: list[memoryview] = []
    position = 0
    view = memoryview(text)
    while (found := _DATA.search(text, position)) is not None:
        start = found.end() - 1
        end = _end_of_numbers(text, start)
        if end is None:
            kept.append(bytes(view[position : found.end()]))
            position = found.end()
            continue
        kept.append(bytes(view[position:start]) + json.dumps(f"{_MARK}{len(cut)}").encode("ascii"))
        cut.append(view[start:end])
        position = end
    kept.append(bytes(view[position:]))
    return b"".join(kept), cut


def cut_of(data: object, cut: list[memoryview]) -> memoryview | None:
    """The text that the mark stands for; None if `data` is no mark."""
    if isinstance(data, str) and data.startswith(_MARK):
        return cut[int(data.removeprefix(_MARK))]
    return None


def read_bytes(text: memoryview, count: int) -> NDArray[np.uint8]:
    """(count,) the whole numbers 0..255 of a JSON array, nested or flat, in the order of the text.

    Raises ValueError, with a sentence for the client, if they are not that.
    """
    numbers = np.empty(count, np.uint8)
    filled = depth = 0
    for piece in _pieces(text):
        depth += piece.count(b"[") - piece.count(b"]")
        values = _whole_numbers(piece)
        if values is None or values.max(initial=0) > 255:
            raise ValueError("data must be whole numbers 0..255 with commas between")
        if filled + len(values) > count:
            raise ValueError(f"data has more than the {count:,} numbers of its shape")
        numbers[filled : filled + len(values)] = values
        filled += len(values)
        time.sleep(0)
    if depth != 0:
        raise ValueError("the brackets of data do not match")
    if filled != count:
        raise ValueError(f"data has {filled:,} numbers, its shape {count:,}")
    return numbers


def write_numbers(array: NDArray[np.generic]) -> Iterator[bytes]:
    """The pieces of a flat JSON array of the numbers, in row-major order. Every FP32 comes back as the same FP32."""
    flat = np.ascontiguousarray(array).reshape(-1)
    yield b"["
    for start in range(0, len(flat), _WRITE_NUMBERS):
        piece = pydantic_core.to_json(flat[start : start + _WRITE_NUMBERS].tolist())[1:-1]
        yield piece if start == 0 else b"," + piece
        time.sleep(0)
    yield b"]"


def _end_of_numbers(text: bytes | bytearray, start: int) -> int | None:
    """Behind the bracket that closes the array of numbers at `start`; None if it holds anything else.

    Behind an array of numbers comes the end of its object, or the next key.
    """
    end = text.find(b'"', start)
    for brace in (b"}", b"{"):
        found = text.find(brace, start, end if end >= 0 else len(text))
        end = found if found >= 0 else end
    if end < 0:
        return None
    tail = bytes(text[max(start, end - 256) : end])
    kept = tail.rstrip(b" \t\r\n,")
    return end - (len(tail) - len(kept)) if kept.endswith(b"]") else None


def _whole_numbers(piece: bytes) -> NDArray[np.int64] | None:
    """The numbers of a piece; None if they are not whole ones with one comma between any two.

    NumPy stops at whatever is no number, but takes blanks where one is missing for 0.
    """
    bare = piece.translate(None, b"[] \t\r\n")
    if bare.translate(None, b"0123456789,") or b",," in bare or bare.startswith(b",") or bare.endswith(b","):
        return None
    try:
        values = np.fromstring(piece.translate(_NO_BRACKETS), np.int64, sep=",")
    except ValueError:
        return None
    return values if len(values) == bare.count(b",") + 1 else None


def _pieces(text: memoryview) -> Iterator[bytes]:
    """The text in pieces, without the commas between them."""
    start = 0
    while start < len(text):
        piece = bytes(text[start : start + _READ_BYTES])
        if start + len(piece) == len(text):
            yield piece
            return
        comma = piece.rfind(b",")
        if comma < 0:
            raise ValueError("data must be whole numbers 0..255 with commas between")
        yield piece[:comma]
        start += comma + 1
