"""Models side by side as columns of numbers, a row for each: what their cards say, and what is learnt of them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from service.manifest import ModelCard, Profile
from service.tracked import Floats, TrackedQuantile

_NO_PROFILE = Profile("none", 0.0, 0.0, ())


class Variants:
    """Models that can stand in for one another, most accurate first, with their profiles as columns.

    alpha_ms, beta_ms, one_row_ms, accuracy  (V,)     all_of_them  (V,) true
    rules  the distinct resize rules     rule  (V,) index into rules
    """

    def __init__(self, cards: Iterable[ModelCard]) -> None:
        self.cards = tuple(sorted(cards, key=lambda card: (-_accuracy(card), card.params, card.name)))
        # A model that was never profiled is never routed to; who names it is not kept from it by a guess.
        profiles = [card.profile or _NO_PROFILE for card in self.cards]
        self.accuracy: Floats = np.array([_accuracy(card) for card in self.cards])
        self.alpha_ms: Floats = np.array([profile.alpha_ms for profile in profiles])
        self.beta_ms: Floats = np.array([profile.beta_ms for profile in profiles])
        self.all_of_them = np.ones(len(self.cards), dtype=bool)
        self.one_row_ms: Floats = self.alpha_ms + self.beta_ms
        self.rules = tuple(dict.fromkeys(card.resize for card in self.cards))
        self.rule = np.array([self.rules.index(card.resize) for card in self.cards], dtype=np.intp)
        self.names = tuple(card.name for card in self.cards)


class TrackedColumn:
    """A tracked quantile for each model, and their values in the order of any Variants: a look-up, not a loop."""

    def __init__(self, quantile: float, first: float, *, step: float, first_step: float) -> None:
        self._quantile = quantile
        self._first = first
        self._step = step
        self._first_step = first_step
        self._tracked: dict[str, TrackedQuantile] = {}
        self._slot: dict[str, int] = {}
        self._values: Floats = np.empty(0)
        self._slots_of: WeakKeyDictionary[Variants, NDArray[np.intp]] = WeakKeyDictionary()

    def value(self, name: str) -> float:
        tracked = self._tracked.get(name)
        return tracked.value if tracked else self._first

    def values(self, variants: Variants) -> Floats:
        """(V,) in the order of `variants`."""
        slots = self._slots_of.get(variants)
        if slots is None:
            slots = np.array([self._slot_of(name) for name in variants.names], dtype=np.intp)
            self._slots_of[variants] = slots
        return self._values[slots]

    def observe(self, name: str, number: float) -> None:
        tracked = self._tracked.get(name)
        if tracked is None:
            tracked = self._tracked[name] = TrackedQuantile(
                self._quantile, self._first, step=self._step, first_step=self._first_step
            )
        tracked.observe(number)
        slot = self._slot_of(name)  # before the values: a new slot makes them a longer array
        self._values[slot] = tracked.value

    def _slot_of(self, name: str) -> int:
        slot = self._slot.get(name)
        if slot is None:
            slot = self._slot[name] = len(self._slot)
            self._values = np.append(self._values, self._first)
        return slot


def _accuracy(card: ModelCard) -> float:
    return card.accuracy.value if card.accuracy else -math.inf
