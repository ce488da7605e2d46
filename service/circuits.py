"""Models that fail time after time are left out of the choice for a while (circuit breaker, one for each model).

Three failures in a row open a model's circuit: the router takes others for 5 s, then tries one request with it; each
trial that fails doubles the pause, to a minute at most, and one good answer closes the circuit. Only the choice is
changed: a request that names the model still gets it, and its honest error; and where nothing else is left, it is
chosen as ever. An entry that is exported anew begins with a closed one.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from service.engines.breaker import Breaker
from service.errors import EngineFailed
from service.manifest import ModelCard
from service.metrics import Metrics
from service.variants import Variants

FAILURES = 3
FIRST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 60.0

Circuit = Literal["closed", "open", "half-open"]
Flags = NDArray[np.bool_]


class Circuits:
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._breakers: dict[str, tuple[str, Breaker]] = {}
        self._open: set[str] = set()

    @contextmanager
    def watched(self, card: ModelCard) -> Iterator[None]:
        """Around one piece of the model's work, its outputs' inspection included: EngineFailed is the model's failure.

        The error then names the model. Whatever else is raised (too late, a bad picture) says nothing about it.
        """
        breaker = self._breaker(card)
        breaker.began()
        try:
            yield
        except EngineFailed as err:
            err.model = card.name
            self._metrics.model_failures.labels(card.name).inc()
            breaker.failed(time.monotonic())
            self._tell(card.name, breaker)
            raise
        else:
            was_open = breaker.ejected
            breaker.worked()
            if was_open:
                self._tell(card.name, breaker)
        finally:
            breaker.ended()

    def well(self, variants: Variants, now_s: float, without: frozenset[str] = frozenset()) -> Flags | None:
        """(V,) false for those that are not to be chosen now: circuit open, or among `without`. None: all may be."""
        if not self._open and not without:
            return None
        return np.array([card.name not in without and self._allows(card, now_s) for card in variants.cards])

    def state(self, card: ModelCard, now_s: float) -> Circuit:
        breaker = self._known(card)
        if breaker is None or not breaker.ejected:
            return "closed"
        return "open" if breaker.paused(now_s) else "half-open"

    def keep(self, cards: Iterable[ModelCard]) -> None:
        """Forgets what is not among these, or was exported anew."""
        sha256 = {card.name: card.onnx_sha256 for card in cards}
        for name, (of_sha256, _) in list(self._breakers.items()):
            if sha256.get(name) != of_sha256:
                self._forget(name)
        for name in sha256:  # from 0 on, so that the first failure is a rise
            self._metrics.model_circuit_open.labels(name)
            self._metrics.model_failures.labels(name)
            for outcome in ("answered", "failed"):
                self._metrics.reroutes.labels(name, outcome)

    def _allows(self, card: ModelCard, now_s: float) -> bool:
        breaker = self._known(card)
        return breaker is None or breaker.allows(now_s)

    def _known(self, card: ModelCard) -> Breaker | None:
        sha256, breaker = self._breakers.get(card.name, ("", None))
        return breaker if sha256 == card.onnx_sha256 else None

    def _breaker(self, card: ModelCard) -> Breaker:
        breaker = self._known(card)
        if breaker is None:
            self._forget(card.name)
            breaker = Breaker(FAILURES, FIRST_PAUSE_S, LONGEST_PAUSE_S)
            self._breakers[card.name] = (card.onnx_sha256, breaker)
        return breaker

    def _forget(self, name: str) -> None:
        self._breakers.pop(name, None)
        if name in self._open:
            self._open.discard(name)
            self._metrics.model_circuit_open.labels(name).set(0)

    def _tell(self, name: str, breaker: Breaker) -> None:
        if self._breakers.get(name, ("", None))[1] is not breaker:
            return  # exported anew while this ran
        if breaker.ejected:
            self._open.add(name)
        else:
            self._open.discard(name)
        self._metrics.model_circuit_open.labels(name).set(breaker.ejected)
