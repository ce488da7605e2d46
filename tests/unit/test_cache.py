"""The cache: bounded by bytes, those used longest ago go first, and nothing else than the key decides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from service.cache import Cache
from service.images import Geometry
from service.manifest import ModelCard, ResizeRule
from tests.cards import classifier

WHOLE = Geometry((8, 8), (8, 8), (1.0, 1.0), (0.0, 0.0))
WANTED = ("probabilities",)


def outputs(value: float, count: int = 1000) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]:
    return {"probabilities": np.full(count, value, np.float32)}


@pytest.fixture
def card() -> ModelCard:
    return classifier("one")


async def test_what_was_put_comes_back_until_it_does_not_fit(card: ModelCard) -> None:
    cache = Cache(3 * (4000 + 1024))
    keys = [await cache.key(bytes([number]), card, WANTED) for number in range(4)]
    for number in (0, 1, 2):
        cache.put(keys[number], outputs(number), WHOLE)
    assert cache.get(keys[0]) is not None  # used last now
    cache.put(keys[3], outputs(3), WHOLE)
    kept = [number for number in range(4) if cache.get(keys[number]) is not None]
    assert kept == [0, 2, 3]
    assert cache.size_bytes <= 3 * (4000 + 1024)
    found = cache.get(keys[2])
    assert found is not None
    assert found.arrays["probabilities"][0] == 2


async def test_the_same_key_twice_counts_once(card: ModelCard) -> None:
    cache = Cache(100_000)
    key = await cache.key(b"picture", card, WANTED)
    cache.put(key, outputs(1), WHOLE)
    once = cache.size_bytes
    cache.put(key, outputs(2), WHOLE)
    assert cache.size_bytes == once


async def test_what_is_larger_than_the_whole_cache_drives_nothing_out(card: ModelCard) -> None:
    cache = Cache(10_000)
    small, large = await cache.key(b"small", card, WANTED), await cache.key(b"large", card, WANTED)
    cache.put(small, outputs(1), WHOLE)
    cache.put(large, outputs(1, 100_000), WHOLE)
    assert cache.get(large) is None
    assert cache.get(small) is not None


async def test_everything_that_determines_the_outputs_is_in_the_key(card: ModelCard) -> None:
    cache = Cache(1)
    key = await cache.key(b"picture", card, WANTED)
    others = [
        await cache.key(b"picture.", card, WANTED),
        await cache.key(b"picture", replace(card, onnx_sha256="1" * 64), WANTED),
        await cache.key(b"picture", replace(card, resize=ResizeRule("squash", (8, 8))), WANTED),
        await cache.key(b"picture", card, ("embedding",)),
    ]
    assert key not in others
    assert key == await cache.key(b"picture", card, WANTED)


async def test_large_pictures_have_the_key_of_their_content_too(card: ModelCard) -> None:
    cache = Cache(1)
    assert await cache.key(bytes(2_000_000), card, WANTED) == await cache.key(bytes(2_000_000), card, WANTED)
    assert await cache.key(bytes(2_000_000), card, WANTED) != await cache.key(bytes(2_000_001), card, WANTED)


async def test_what_is_kept_is_a_copy_that_nobody_can_change(card: ModelCard) -> None:
    cache = Cache(100_000)
    key, mine = await cache.key(b"picture", card, WANTED), outputs(1)
    cache.put(key, mine, WHOLE)
    mine["probabilities"][0] = 7
    kept = cache.get(key)
    assert kept is not None
    assert kept.arrays["probabilities"][0] == 1
    with pytest.raises(ValueError, match="read-only"):
        kept.arrays["probabilities"][0] = 7
