"""What the last minute looked like: who answered, how fast, and why that model. A ring of sixty seconds.

Noting a request is a few dictionary look-ups; durations are counted in bins, so memory does not grow with the load and
a quantile is off by half a bin at most (4.5 %). Only whole seconds are shown: the one that runs is still filling.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

WINDOW_S = 60
_BINS_PER_OCTAVE = 8

Key = tuple[str, str]
"""Task and model."""


@dataclass(slots=True)
class Tally:
    """Answers of one model to one task. `bins` counts durations; `reasons` why the router took it."""

    answers: int = 0
    pictures: int = 0
    bins: Counter[int] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        self.answers += other.answers
        self.pictures += other.pictures
        self.bins.update(other.bins)
        self.reasons.update(other.reasons)

    def quantile_ms(self, quantile: float) -> float | None:
        """Milliseconds that this share of the answers took at most; None without an answer."""
        left = math.ceil(self.answers * quantile)
        for number in sorted(self.bins):
            left -= self.bins[number]
            if left <= 0:
                return _middle_ms(number)
        return None


@dataclass(frozen=True, slots=True)
class Moment:
    """One second: how many requests ended in it, how many of them with an answer, and how long those took."""

    ended: int
    answers: int
    p50_ms: float | None
    p95_ms: float | None


@dataclass(slots=True)
class _Second:
    """What ended within one second of the caller's clock."""

    number: int = -1
    outcomes: Counter[str] = field(default_factory=Counter)
    tallies: dict[Key, Tally] = field(default_factory=dict)
    _moment: Moment | None = None

    def moment(self) -> Moment:
        """The second in numbers; to be asked for when it is over, for it is worked out once."""
        if self._moment is None:
            total = _sum(self.tallies.values())
            quantiles_ms = total.quantile_ms(0.5), total.quantile_ms(0.95)
            self._moment = Moment(self.outcomes.total(), total.answers, *quantiles_ms)
        return self._moment


@dataclass(frozen=True, slots=True)
class Summary:
    """The last `window_s` whole seconds. `moments` has one entry for each of them, oldest first."""

    window_s: int
    outcomes: Counter[str]
    total: Tally
    tallies: dict[Key, Tally]
    moments: tuple[Moment, ...]


class Activity:
    """Told of every request once, when it ends; belongs to the event loop's thread."""

    def __init__(self) -> None:
        self._ring = [_Second() for _ in range(WINDOW_S + 1)]
        self._first: int | None = None
        self._summary: tuple[int, Summary] | None = None

    def ended(self, now_s: float, outcome: str) -> None:
        """A request ended; `now_s` is the caller's clock."""
        self._at(now_s).outcomes[outcome] += 1

    def answered(self, now_s: float, task: str, model: str, reason: str, took_ms: float, pictures: int) -> None:
        """A request was answered by this model; `ended` is called besides."""
        tallies = self._at(now_s).tallies
        tally = tallies.get((task, model))
        if tally is None:
            tally = tallies[task, model] = Tally()
        tally.answers += 1
        tally.pictures += pictures
        tally.reasons[reason] += 1
        tally.bins[_bin(took_ms)] += 1

    def summary(self, now_s: float) -> Summary:
        """The last minute, or what there is of it. Made once a second, however many ask."""
        now = int(now_s)
        if self._summary is None or self._summary[0] != now:
            self._summary = (now, self._summarised(now))
        return self._summary[1]

    def _summarised(self, now: int) -> Summary:
        window_s = 0 if self._first is None else max(0, min(WINDOW_S, now - self._first))
        seconds = [self._whole(number) for number in range(now - window_s, now)]
        tallies: dict[Key, Tally] = {}
        outcomes: Counter[str] = Counter()
        for second in seconds:
            outcomes.update(second.outcomes)
            for key, tally in second.tallies.items():
                tallies.setdefault(key, Tally()).add(tally)
        return Summary(
            window_s, outcomes, _sum(tallies.values()), tallies, tuple(second.moment() for second in seconds)
        )

    def _at(self, now_s: float) -> _Second:
        number = int(now_s)
        second = self._ring[number % len(self._ring)]
        if second.number != number:
            second = self._ring[number % len(self._ring)] = _Second(number)
            self._first = number if self._first is None else self._first
        return second

    def _whole(self, number: int) -> _Second:
        second = self._ring[number % len(self._ring)]
        return second if second.number == number else _Second(number)


def _sum(tallies: Iterable[Tally]) -> Tally:
    total = Tally()
    for tally in tallies:
        total.add(tally)
    return total


def _bin(took_ms: float) -> int:
    return round(math.log2(max(took_ms, 0.01)) * _BINS_PER_OCTAVE)


def _middle_ms(number: int) -> float:
    return float(2.0 ** (number / _BINS_PER_OCTAVE))
