"""What is learnt of waiting, by those with about as much time: how long it is beside the backlog, and how uncertain.

A wait is the gateway's own time, whatever else it does meanwhile, and that of the work before. What is uncertain of the
first is the same whether many wait or few; what is uncertain of the second, a sum of many runs, grows with its root.

How many such errors a promise leaves room for (its margin) is learnt for each octave of the wait. With one margin for
all, those who found nobody there when they came, and then a burst behind them, would widen the promises of those who
wait in it, which need no such room: half of a queue would stand empty.
Source: Mondrian conformal prediction, one quantile for each kind (Vovk, Gammerman and Shafer 2005, section 4.5).
"""

from __future__ import annotations

import math

import numpy as np

from service.tracked import WORST, Floats, TrackedMean, TrackedQuantile

# What a margin aims at, for 95 % to hold: a promise is judged after others have moved it, which costs about a point.
_MARGIN_QUANTILE = 0.962
_FIRST_MARGIN = 2.0
# From such a backlog on a request waits for others; below it, for the gateway alone.
QUEUED_MS = 2.0
# Octaves of the wait: nobody, 2 to 4 ms, 4 to 8 ms … a second and more.
_OCTAVES = 10


class TrackedWait:
    """For budgets of one octave; `own_ms` is the time that the gateway itself takes, milliseconds.

    knows_own  somebody has found nobody there; until then `own_ms` is a guess
    """

    def __init__(self) -> None:
        self._backlog_ms = TrackedMean(1.0, weight=1)
        self._waited_ms = TrackedMean(1.0, weight=1)
        self._error_ms = TrackedMean(0.0, weight=1)
        self._root_ms = TrackedMean(1.0, weight=1)
        self.knows_own = False
        self._own_ms = TrackedMean(0.0, weight=10)
        self._own_error_ms = TrackedMean(0.0, weight=10)
        self._margins = [
            TrackedQuantile(_MARGIN_QUANTILE, _FIRST_MARGIN, step=0.05, first_step=0.1) for _ in range(_OCTAVES)
        ]

    @property
    def factor(self) -> float:
        """By how much waits for others are longer than the backlog that the engine counted."""
        return self._waited_ms.value / self._backlog_ms.value

    @property
    def own_ms(self) -> float:
        return self._own_ms.value

    def doubt_ms(self, behind_ms: Floats | float) -> Floats | float:
        """The mean error of waits behind so much work."""
        of_others = self._error_ms.value / self._root_ms.value
        return np.sqrt(self._own_error_ms.value**2 + of_others**2 * behind_ms)

    def margin(self, behind_ms: Floats | float) -> Floats | float:
        """How many errors a promise leaves room for that waits behind so much work; (V,) for (V,)."""
        if isinstance(behind_ms, float):
            return self._margins[_octave(behind_ms)].value
        octaves = np.clip(np.log2(np.maximum(behind_ms, 1.0)), 0, _OCTAVES - 1).astype(np.intp)
        return np.array([margin.value for margin in self._margins])[octaves]

    def move_margin(self, behind_ms: float, *, above: bool) -> None:
        """One such promise was too short, or was not."""
        self._margins[_octave(behind_ms)].move(above=above)

    def observe(self, *, backlog_ms: float, waited_ms: float) -> None:
        """A wait for others."""
        expected_ms = self.factor * backlog_ms
        self._error_ms.observe(min(abs(waited_ms - expected_ms), WORST * expected_ms))
        self._root_ms.observe(math.sqrt(expected_ms))
        self._backlog_ms.observe(backlog_ms)
        self._waited_ms.observe(min(max(0.0, waited_ms), WORST * backlog_ms))

    def observe_own(self, took_ms: float) -> None:
        """A request that found nobody there: what it took beside its own work."""
        self.knows_own = True
        counts_ms = min(max(0.0, took_ms), 2.0 * self.own_ms + 2.0)
        self._own_error_ms.observe(abs(counts_ms - self.own_ms))
        self._own_ms.observe(counts_ms)


def _octave(behind_ms: float) -> int:
    """0 below QUEUED_MS."""
    return int(min(_OCTAVES - 1, math.log2(max(behind_ms, 1.0))))
