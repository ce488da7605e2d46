"""What a model said about a picture, kept by the picture's content: the same bytes to the same graph are not run again.

Kept are the graph's raw outputs, from which every answer is made anew: `top_k`, thresholds and mask formats need no
place in the key, and cannot be confused. The key is the sha256 of the picture's bytes, that of the model's ONNX file,
how the picture is resized for it, and the outputs asked for. Which model answers is decided before anybody looks here.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.images import Geometry
from service.manifest import ModelCard, ResizeRule

Arrays = dict[str, NDArray[np.generic]]
Key = tuple[bytes, str, str, ResizeRule, tuple[str, ...]]

# More is hashed on another thread: at 1 to 2 GB a second it would keep the event loop from others.
_HASH_HERE_BYTES = 512 * 1024
# Of each entry, beside its arrays: key, geometry, dictionary.
_OVERHEAD_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Kept:
    """arrays  output name → (…), without the batch axis, read-only"""

    arrays: Arrays
    geometry: Geometry

    @property
    def size_bytes(self) -> int:
        return sum(array.nbytes for array in self.arrays.values()) + _OVERHEAD_BYTES


class Cache:
    """At most `max_bytes` of outputs, those used last; 0 keeps nothing. For one event loop, no locks."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[Key, Kept] = OrderedDict()
        self.size_bytes = 0

    @property
    def on(self) -> bool:
        return self._max_bytes > 0

    async def key(self, picture: bytes, card: ModelCard, outputs: tuple[str, ...]) -> Key:
        """What determines these outputs."""
        if len(picture) <= _HASH_HERE_BYTES:
            digest = hashlib.sha256(picture).digest()
        else:
            digest = await asyncio.to_thread(_digest, picture)
        return digest, card.name, card.onnx_sha256, card.resize, outputs

    def get(self, key: Key) -> Kept | None:
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
        return kept

    def put(self, key: Key, arrays: Arrays, geometry: Geometry) -> None:
        """Keeps a copy, for `arrays` may be a part of a whole batch; what was used longest ago goes, if it must."""
        kept = Kept({name: array.copy() for name, array in arrays.items()}, geometry)
        if kept.size_bytes > self._max_bytes:
            return
        for array in kept.arrays.values():
            array.flags.writeable = False
        before = self._kept.pop(key, None)
        self.size_bytes += kept.size_bytes - (before.size_bytes if before else 0)
        self._kept[key] = kept
        while self.size_bytes > self._max_bytes:
            _, oldest = self._kept.popitem(last=False)
            self.size_bytes -= oldest.size_bytes


def _digest(picture: bytes) -> bytes:
    return hashlib.sha256(picture).digest()
