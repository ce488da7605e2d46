"""How many replicas of what a load needs: measured profiles and tiers in, a plan out. No server is asked.

For every tier and every model, the fewest replicas that answer the wanted share of its requests in time
(service.queueing). Then the most accurate choice for each tier; within 0.3 points the one with the fewest replicas, as
the router would. A tier is planned as if its replicas were its own, its arrivals spread evenly over them at random.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from service.queueing import Batching, within_on_batches, within_on_cores
from service.routing import ACCURACY_BAND

# A load that needs more is a mistake in the question.
MOST_REPLICAS = 100_000
MOST_CHOICES = 6
# Between what the router comes to leave free on a calm machine and on a noisy one (service/headroom.py).
HEADROOM = 0.10


class NoPlan(Exception):
    """Nothing does it; the sentence says for which tier and why."""


@dataclass(frozen=True, slots=True)
class Profiled:
    """A model as it was measured on a device.

    accuracy            percent          alpha_ms, beta_ms   one run of n pictures takes alpha_ms + beta_ms · n
    decode_ms           on one core of the gateway; an estimate
    cores               of a replica that decodes and runs pictures one by one on cores; 0: a GPU, which batches
    """

    name: str
    accuracy: float
    alpha_ms: float
    beta_ms: float
    max_batch_size: int
    decode_ms: float = 0.0
    cores: int = 0

    def attainment(self, rate_per_s: float, replicas: int, budget_ms: float) -> float:
        """Share of the requests in time, where each replica gets its part of the rate."""
        each_per_s = rate_per_s / replicas
        limit_s = usable_ms(budget_ms) / 1e3
        if self.cores:
            service_s = (self.decode_ms + self.alpha_ms + self.beta_ms) / 1e3
            return within_on_cores(each_per_s, self.cores, service_s, limit_s)
        server = Batching(self.alpha_ms / 1e3, self.beta_ms / 1e3, max(1, self.max_batch_size))
        return within_on_batches(each_per_s, server, limit_s - self.decode_ms / 1e3)

    @property
    def unloaded_ms(self) -> float:
        return self.decode_ms + self.alpha_ms + self.beta_ms


@dataclass(frozen=True, slots=True)
class TierLoad:
    """What comes: `rate_per_s` requests of one picture, each to be answered within `budget_ms`."""

    tier: str
    budget_ms: float
    rate_per_s: float


@dataclass(frozen=True, slots=True)
class Share:
    """A tier's part of a plan."""

    load: TierLoad
    model: Profiled
    replicas: int
    attainment: float

    @property
    def effective_accuracy(self) -> float:
        """Percent of right answers in time, over all that were asked for."""
        return self.attainment * self.model.accuracy


@dataclass(frozen=True, slots=True)
class FleetPlan:
    shares: tuple[Share, ...]

    @property
    def replicas(self) -> int:
        return sum(share.replicas for share in self.shares)

    @property
    def attainment(self) -> float:
        return self._mean([share.attainment for share in self.shares])

    @property
    def effective_accuracy(self) -> float:
        return self._mean([share.effective_accuracy for share in self.shares])

    @property
    def decoding_cores(self) -> float:
        """Cores of the gateways that decoding keeps busy; 0 where the replicas decode themselves."""
        return sum(s.load.rate_per_s * s.model.decode_ms / 1e3 for s in self.shares if not s.model.cores)

    def _mean(self, values: Sequence[float]) -> float:
        rates = [share.load.rate_per_s for share in self.shares]
        return sum(value * rate for value, rate in zip(values, rates, strict=True)) / sum(rates)


def usable_ms(budget_ms: float) -> float:
    """What the router lets a prediction fill; the rest is for what no profile knows."""
    return budget_ms * (1.0 - HEADROOM)


def make_plan(
    models: Sequence[Profiled], loads: Sequence[TierLoad], target: float, most_replicas: int | None = None
) -> FleetPlan:
    """The most accurate plan that answers `target` (0..1) of each tier in time with at most so many replicas.

    Raises NoPlan.
    """
    options = [choices(models, load, target) for load in loads]
    plans = [FleetPlan(shares) for shares in itertools.product(*options)]
    affordable = [plan for plan in plans if most_replicas is None or plan.replicas <= most_replicas]
    if not affordable:
        fewest = min(plan.replicas for plan in plans)
        raise NoPlan(f"{most_replicas} replicas are too few: {fewest} are the least that answer {target:.1%} in time.")
    best = max(plan.effective_accuracy for plan in affordable)
    equal = [plan for plan in affordable if plan.effective_accuracy >= best - ACCURACY_BAND]
    return min(equal, key=lambda plan: (plan.replicas, -plan.effective_accuracy))


def choices(models: Sequence[Profiled], load: TierLoad, target: float) -> list[Share]:
    """What could serve the tier, most accurate first, without what is neither more accurate nor cheaper than another.

    Raises NoPlan if nothing can.
    """
    found: list[Share] = []
    for model in sorted(models, key=lambda model: -model.accuracy):
        fewest = fewest_replicas(model, load, target)
        if fewest is not None and (not found or fewest < found[-1].replicas):
            found.append(Share(load, model, fewest, model.attainment(load.rate_per_s, fewest, load.budget_ms)))
    if not found:
        fastest = min(models, key=lambda model: model.unloaded_ms)
        raise NoPlan(
            f"no model answers {target:.1%} of {load.tier} in time: {fastest.name}, the fastest, takes "
            f"{fastest.unloaded_ms:.1f} ms by itself; {usable_ms(load.budget_ms):g} of {load.budget_ms:g} are usable."
        )
    # The most accurate, the cheapest, and some between: their combinations are all tried.
    kept = {round(i * (len(found) - 1) / (MOST_CHOICES - 1)) for i in range(MOST_CHOICES)}
    return [share for i, share in enumerate(found) if i in kept]


def fewest_replicas(model: Profiled, load: TierLoad, target: float) -> int | None:
    """The least that reach the target; None if however many do not."""

    def enough(replicas: int) -> bool:
        return model.attainment(load.rate_per_s, replicas, load.budget_ms) >= target

    most = 1
    while not enough(most):
        # With hardly anything to do for each, a replica is as fast as it gets.
        if most >= MOST_REPLICAS or load.rate_per_s / most < 1e-3:
            return None
        if model.unloaded_ms > usable_ms(load.budget_ms):
            return None
        most *= 2
    least = most // 2
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (least, middle) if enough(middle) else (middle, most)
    return most
