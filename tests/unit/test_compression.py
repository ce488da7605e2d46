"""Packed bodies: what comes out, what is refused, and when."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import numpy as np
import pytest

from service.compression import Coding, coding_of_body, coding_wished, pack, unpack
from service.errors import InvalidBody, TooLarge, UnsupportedMedia

NOISE = np.random.default_rng(0).integers(0, 256, 1_000_000, dtype=np.uint8).tobytes()
TEXT = b"the same again and again, " * 40_000


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("body", [NOISE, TEXT, b"", b"x"], ids=["noise", "text", "nothing", "a byte"])
def test_what_was_packed_comes_out_again(body: bytes, coding: Coding) -> None:
    packed = gzip.compress(body) if coding == "gzip" else zlib.compress(body)
    assert unpack(packed, len(body)) == body
    ours = pack([body[:100], memoryview(body[100:])], coding)
    assert (gzip.decompress(ours) if coding == "gzip" else zlib.decompress(ours)) == body


def test_a_bomb_is_refused_before_it_is_large() -> None:
    bomb = gzip.compress(bytes(100_000_000), 9)
    assert len(bomb) < 200_000
    tracemalloc.start()
    with pytest.raises(TooLarge, match="unpacks to more than"):
        unpack(bomb, 1_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"neither",
        gzip.compress(TEXT)[:-1],
        gzip.compress(NOISE)[:500_000],
        gzip.compress(TEXT) + b"more",
        gzip.compress(NOISE) + NOISE,
        gzip.compress(TEXT)[:-8] + b"12345678",
    ],
    ids=["nothing", "not packed", "cut off", "half", "a tail", "a long tail", "wrong sum"],
)
def test_what_is_not_packed_right_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidBody):
        unpack(body, 10_000_000)


def test_codings() -> None:
    assert [coding_of_body(name) for name in (None, "identity", "GZIP ", "deflate")] == [None, None, "gzip", "deflate"]
    for name in ("br", "gzip, deflate", "x" * 1000):
        with pytest.raises(UnsupportedMedia):
            coding_of_body(name)


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        (None, None),
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("gzip, deflate, br", None),
        ("identity", None),
        ("br", None),
        ("gzip;q=0", None),
        ("gzip;q=0.5, identity", "gzip"),
    ],
)
def test_one_coding_is_a_wish_a_list_of_all_is_none(accept: str | None, coding: Coding | None) -> None:
    assert coding_wished(accept) == coding
