"""How likely a request is answered within a time, by queueing theory: rates and times in, a probability out.

Two kinds of servers, arrivals at random (Poisson), work done in order of arrival:

M/D/c       cores: c of them, each takes one request at a time for the same time S. An arrival waits with Erlang's
            probability C(c, a), and then longer than t with exp(-2(c - a)t/S): half of M/M/c's wait, as times that do
            not vary have it (Allen and Cunneen's approximation; Erlang 1917 for C).
M/D[b]/1    a GPU: it takes what waits, up to B at once, for α + β·b. What waits at the end of a run depends only on
            what waited at its beginning: the numbers waiting are a Markov chain, solved here as it is (Bailey 1954,
            bulk service). Only the size of the batch that a request ends up in is taken at its mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Beyond it a queue is for practical purposes endless.
MOST_UTILISED = 0.97
# Places within a run at which an arrival is looked at.
PLACES = 12


@dataclass(frozen=True, slots=True)
class Batching:
    """A server that takes up to `most` requests at once, for alpha_s + beta_s · requests."""

    alpha_s: float
    beta_s: float
    most: int

    def run_s(self, requests: NDArray[Any] | float) -> Floats:
        return np.asarray(self.alpha_s + self.beta_s * np.asarray(requests, dtype=np.float64))

    @property
    def capacity_per_s(self) -> float:
        """Requests a second at full batches."""
        return self.most / float(self.run_s(self.most))


def within_on_cores(rate_per_s: float, cores: int, service_s: float, limit_s: float) -> float:
    """Share of the requests that are done `limit_s` after they came, on that many cores; 0 if those cannot keep up."""
    busy = rate_per_s * service_s
    if busy >= MOST_UTILISED * cores or service_s > limit_s:
        return 0.0
    waits = erlang_c(cores, busy)
    return 1.0 - waits * math.exp(-2.0 * (cores - busy) * (limit_s - service_s) / service_s)


def erlang_c(servers: int, busy: float) -> float:
    """Probability that an arrival waits; `busy` is the mean number of busy servers."""
    blocked = 1.0
    for number in range(1, servers + 1):  # Erlang B, without factorials
        blocked = busy * blocked / (number + busy * blocked)
    return blocked / (1.0 - (1.0 - blocked) * busy / servers)


def within_on_batches(rate_per_s: float, server: Batching, limit_s: float) -> float:
    """Share of the requests that are done `limit_s` after they came, on one such server. 0 where it cannot keep up."""
    if rate_per_s >= MOST_UTILISED * server.capacity_per_s or float(server.run_s(1)) > limit_s:
        return 0.0
    waiting = _waiting_after_a_run(rate_per_s, server)  # (K,)
    numbers = np.arange(len(waiting))
    batches = np.clip(numbers, 1, server.most)
    run_s = server.run_s(batches)
    # Whoever finds the server idle begins a run of one; all others come during a run.
    alone = waiting[0]
    during = waiting * rate_per_s * run_s
    in_time = alone * (float(server.run_s(1)) <= limit_s)
    left = np.maximum(numbers, 1) - batches
    for number in np.flatnonzero(during > 1e-9 * during.sum()):
        in_time += during[number] * _in_time(rate_per_s, server, float(run_s[number]), int(left[number]), limit_s)
    return float(min(1.0, in_time / (alone + during.sum())))


def _waiting_after_a_run(rate_per_s: float, server: Batching) -> Floats:
    """(K,) stationary probabilities of the number that waits when a run ends; K bounds it where it hardly gets."""
    usual = rate_per_s * float(server.run_s(server.most))
    states = int(max(4 * server.most, usual + 8 * math.sqrt(usual) + 16, 32))
    numbers = np.arange(states)
    batches = np.clip(numbers, 1, server.most)
    left = np.maximum(numbers, 1) - batches
    step = np.zeros((states, states))
    for number in range(states):
        came = poisson(rate_per_s * float(server.run_s(float(batches[number]))), states)
        start = int(left[number])
        step[number, start:] = came[: states - start]
        step[number, -1] += 1.0 - step[number].sum()
    # π(P - 1) = 0 and Σπ = 1
    equations = np.vstack([(step.T - np.eye(states))[:-1], np.ones(states)])
    solved = np.linalg.solve(equations, np.eye(states)[-1])
    clipped = np.clip(solved, 0.0, None)
    return np.asarray(clipped / clipped.sum())


def _in_time(rate_per_s: float, server: Batching, run_s: float, left: int, limit_s: float) -> float:
    """Share of those who come during a run of `run_s` behind `left` who waited already."""
    share = 0.0
    for place in (np.arange(PLACES) + 0.5) / PLACES:
        came = poisson(rate_per_s * place * run_s, int(4 * server.most + rate_per_s * run_s * 3 + 16))
        ahead = left + np.arange(len(came))
        full_before = ahead // server.most
        after = math.ceil(rate_per_s * (1.0 - place) * run_s)
        with_me = np.where(full_before > 0, server.most, np.minimum(server.most, ahead + 1 + after))
        done_s = (1.0 - place) * run_s + full_before * float(server.run_s(server.most)) + server.run_s(with_me)
        share += float(came[done_s <= limit_s].sum()) / PLACES
    return share


def poisson(mean: float, states: int) -> Floats:
    """(states,) probabilities of 0, 1, 2 … events."""
    counts = np.arange(states)
    if mean <= 0.0:
        return np.where(counts == 0, 1.0, 0.0)
    log_factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, states)))])
    probabilities: Floats = np.exp(counts * math.log(mean) - mean - log_factorials)
    return probabilities
