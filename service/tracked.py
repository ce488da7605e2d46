"""Numbers that follow what is observed, without a window: quantiles, means, and waits beside what they were to be."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Of a mean: enough numbers for noise to average out, few enough for a bad minute to be forgotten within a second.
MEAN_STEP = 0.02
# A single number counts as this many times what was expected at most.
WORST = 4.0


class TrackedQuantile:
    """A running quantile of positive numbers, without a window.

    Each observation above the value raises it by the factor exp(step·q), each one below lowers it by exp(-step·(1-q)).
    The step shrinks from `first_step` to `step` over the first observations: a bad start is forgotten quickly, a good
    estimate stays calm.
    """

    def __init__(self, quantile: float, value: float, *, step: float, first_step: float) -> None:
        self.value = value
        self._observations = 0
        self._quantile = quantile
        self._step = step
        self._first_step = first_step

    def observe(self, number: float) -> None:
        self.move(above=number > self.value)

    def move(self, *, above: bool) -> None:
        """One observation that was above the value, or was not; for who knows only that."""
        self._observations += 1
        step = max(self._step, self._first_step / math.sqrt(self._observations))
        self.value *= math.exp(step * (self._quantile if above else self._quantile - 1.0))


class TrackedMean:
    """A running mean of the last 1/step numbers or so; `first` counts like `weight` of them."""

    def __init__(self, first: float, *, weight: int, step: float = MEAN_STEP) -> None:
        self.value = first
        self._observations = weight
        self._step = step

    def observe(self, number: float) -> None:
        self._observations += 1
        self.value += max(self._step, 1.0 / self._observations) * (number - self.value)


class TrackedPace:
    """How much longer work takes than was expected, over the last fifty pieces or so."""

    def __init__(self) -> None:
        self._took_s = TrackedMean(0.01, weight=1)
        self._expected_s = TrackedMean(0.01, weight=1)

    @property
    def value(self) -> float:
        """At least 1: what idle cores save is no promise to those who come when there are none."""
        return max(1.0, self._took_s.value / self._expected_s.value)

    def observe(self, *, took_s: float, expected_s: float) -> None:
        """One piece; of one that nobody knew how long to expect nothing is learnt."""
        if expected_s > 0.0:
            self._took_s.observe(min(took_s, WORST * expected_s))
            self._expected_s.observe(expected_s)
