"""Which models are in memory, and which go when another is to come. Pure: names and numbers in, names out.

    free ──reserve──▶ coming ──arrived──▶ resident ──leave──▶ leaving ──gone──▶ free

What is coming or leaving takes its memory as well: the budget holds at every moment, not only at the end.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

from service.manifest import ModelCard

# Measured on ONNX Runtime 1.31: a session takes about twice its file, and 200 bytes for each pixel of its input once
# it has run. What was measured on load takes the place of this guess.
_BYTES_PER_FILE_BYTE = 2
_BYTES_PER_PIXEL = 200


def estimated_bytes(card: ModelCard) -> int:
    """What the model is expected to take in memory, having run one picture."""
    height_px, width_px = card.resize.size_hw
    return _BYTES_PER_FILE_BYTE * card.onnx_bytes + _BYTES_PER_PIXEL * height_px * width_px


class DoesNotFit(Exception):
    """The model alone is larger than the budget."""


class Place(Enum):
    COMING = 0
    RESIDENT = 1
    LEAVING = 2


@dataclass(slots=True)
class _Placed:
    bytes: int
    place: Place


class Residency:
    """The memory of one server, or of several that hold the same. `budget_bytes` 0: no limit."""

    def __init__(self, budget_bytes: int = 0) -> None:
        self._budget_bytes = budget_bytes or math.inf
        self._placed: dict[str, _Placed] = {}
        self._in_use: Counter[str] = Counter()
        self._last_used: dict[str, int] = {}
        self._clock = itertools.count(1)

    @property
    def used_bytes(self) -> int:
        """Of all models that are there, come or leave."""
        return sum(placed.bytes for placed in self._placed.values())

    @property
    def names(self) -> frozenset[str]:
        """All models that are there, come or leave."""
        return frozenset(self._placed)

    def place(self, name: str) -> Place | None:
        """None: it is not in memory."""
        placed = self._placed.get(name)
        return placed.place if placed else None

    def resident(self, name: str) -> bool:
        """Whether new work may go to it: what leaves takes none."""
        return self.place(name) is Place.RESIDENT

    def bytes_of(self, name: str) -> int:
        """0 if it is not in memory."""
        placed = self._placed.get(name)
        return placed.bytes if placed else 0

    def in_use(self, name: str) -> bool:
        return self._in_use[name] > 0

    def at_most(self, needed_bytes: int) -> int:
        """That, or the whole budget if it is less."""
        return int(min(needed_bytes, self._budget_bytes))

    def hold(self, name: str) -> None:
        """The model is used, or waited for: it does not leave until as many `let_go` as `hold` were called."""
        self._in_use[name] += 1
        self._last_used[name] = next(self._clock)

    def let_go(self, name: str) -> None:
        self._in_use[name] -= 1
        if self._in_use[name] <= 0:
            del self._in_use[name]

    def victims(
        self, name: str, needed_bytes: int, spare: Callable[[str], bool] = lambda name: False
    ) -> tuple[str, ...] | None:
        """Who has to leave before the model can come: least recently used first, never one that is in use.

        None: there is no way now, for those who could leave are in use, or are what `spare` keeps.
        Raises DoesNotFit if the model would not fit were it alone.
        """
        if needed_bytes > self._budget_bytes:
            needed, budget = f"{needed_bytes / 1e6:.0f} MB", f"{self._budget_bytes / 1e6:.0f} MB"
            raise DoesNotFit(f"{name}: it needs {needed} of memory, the budget is {budget}")
        missing = self.used_bytes - self.bytes_of(name) + needed_bytes - self._budget_bytes
        chosen: list[str] = []
        for candidate in self._least_recently_used():
            if missing <= 0:
                break
            if candidate != name and not spare(candidate):
                chosen.append(candidate)
                missing -= self.bytes_of(candidate)
        return tuple(chosen) if missing <= 0 else None

    def surplus(self) -> tuple[str, ...]:
        """Who should leave because more is in memory than the budget allows: what came by itself, or took more."""
        missing = self.used_bytes - sum(p.bytes for p in self._placed.values() if p.place is Place.LEAVING)
        missing -= int(min(self._budget_bytes, missing))
        chosen: list[str] = []
        for candidate in self._least_recently_used():
            if missing <= 0:
                break
            chosen.append(candidate)
            missing -= self.bytes_of(candidate)
        return tuple(chosen)

    def reserve(self, name: str, needed_bytes: int) -> None:
        """The model begins to come; its memory is taken from now on."""
        self._placed[name] = _Placed(needed_bytes, Place.COMING)

    def arrived(self, name: str, taken_bytes: int) -> None:
        """The model is there, and takes that much: what was measured, or else the estimate."""
        self._placed[name] = _Placed(taken_bytes, Place.RESIDENT)
        self._last_used[name] = next(self._clock)

    def resize(self, name: str, taken_bytes: int) -> None:
        """It takes more, or less, than was thought."""
        self._placed[name].bytes = taken_bytes

    def leave(self, name: str) -> None:
        """The model begins to leave: nothing new goes to it, its memory is not free yet."""
        self._placed[name].place = Place.LEAVING

    def stay(self, name: str) -> None:
        """It did not leave after all."""
        self._placed[name].place = Place.RESIDENT

    def gone(self, name: str) -> None:
        """The model's memory is free, or it never came."""
        self._placed.pop(name, None)

    def _least_recently_used(self) -> Iterator[str]:
        """Residents that nobody uses."""
        idle = [n for n, placed in self._placed.items() if placed.place is Place.RESIDENT and not self.in_use(n)]
        return iter(sorted(idle, key=lambda name: self._last_used.get(name, 0)))


class Popularity:
    """How often each model was wanted lately: a count that halves every 30 s."""

    _HALVES_IN_S = 30.0

    def __init__(self) -> None:
        self._counts: dict[str, tuple[float, float]] = {}

    def wanted(self, name: str, now_s: float) -> None:
        self._counts[name] = (self.at(name, now_s) + 1.0, now_s)

    def at(self, name: str, now_s: float) -> float:
        count, counted_s = self._counts.get(name, (0.0, now_s))
        return count * math.exp2(-max(0.0, now_s - counted_s) / self._HALVES_IN_S)
