"""Which files an ONNX graph takes its weights from, read off the protobuf itself: the service has no onnx package.

Only lengths are walked over, never weights: a file of gigabytes costs what its number of nodes costs.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

# Field numbers of onnx.proto3 on the way to a tensor: message → field → message.
_INSIDE: dict[str, dict[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_EXTERNAL_DATA = 13
_BYTES = 2

Span = tuple[int, int]


def external_locations(path: Path) -> frozenset[str]:
    """The `location` of every tensor that is stored outside of the file. Raises ValueError if it is no ONNX file."""
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            raise ValueError("the file is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return frozenset(_locations(data, (0, len(data)), "model"))


def _locations(data: mmap.mmap, span: Span, message: str) -> Iterator[str]:
    if message == "tensor":
        yield from _of_tensor(data, span)
        return
    for field, inner in _fields(data, span):
        if field in _INSIDE[message]:
            yield from _locations(data, inner, _INSIDE[message][field])


def _of_tensor(data: mmap.mmap, span: Span) -> Iterator[str]:
    for field, inner in _fields(data, span):
        if field == _EXTERNAL_DATA:
            pair = {key: data[start:end] for key, (start, end) in _fields(data, inner)}
            if pair.get(1) == b"location":
                yield pair.get(2, b"").decode("utf-8", "replace")


def _fields(data: mmap.mmap, span: Span) -> Iterator[tuple[int, Span]]:
    """(number, where) of the length-delimited fields of the message at `span`; the others are passed over."""
    at, end = span
    while at < end:
        tag, at = _varint(data, at, end)
        field, kind = tag >> 3, tag & 7
        if kind == 0:
            _, at = _varint(data, at, end)
            continue
        length, start = _varint(data, at, end) if kind == _BYTES else ({1: 8, 5: 4}.get(kind, -1), at)
        at = start + length
        if length < 0 or at > end:
            raise ValueError("the file is cut off, or no ONNX file")
        if kind == _BYTES:
            yield field, (start, at)


def _varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 64:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
    raise ValueError("the file is cut off, or no ONNX file")
