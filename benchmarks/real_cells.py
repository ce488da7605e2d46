"""Cells on the real server: one policy, one arrival process, one load, replayed open loop and scored."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.arrivals import Arrivals
from benchmarks.client import Client, Sent, closed_loop, open_loop, post
from benchmarks.photographs import Photograph
from benchmarks.scores import Outcome

MODELS = ("mobilenet_v2", "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
FASTEST = MODELS[0]
POLICIES = ("ours", "random", *MODELS)
ANY_BUDGET = "latency_budget_ms=20000"


@dataclass(frozen=True, slots=True)
class Asked:
    """Who is asked for what: the query of each request, and the picture it carries."""

    queries: list[str]
    pictures: list[int]
    budgets_ms: list[float]


def asked(policy: str, count: int, budget_ms: float, pictures: int, seed: int) -> Asked:
    """The same pictures for every policy; `ours` names a budget, the others a model too."""
    dice = random.Random(seed)
    order = [dice.randrange(pictures) for _ in range(count)]
    budget = f"latency_budget_ms={budget_ms:g}"
    if policy == "ours":
        queries = [budget] * count
    elif policy == "random":
        queries = [f"model={dice.choice(MODELS)}&{budget}" for _ in range(count)]
    else:
        queries = [f"model={policy}&{budget}"] * count
    return Asked(queries, order, [budget_ms] * count)


def asked_tiers(tiers: dict[str, float], count: int, pictures: int, seed: int) -> Asked:
    """Each request of any of the tiers (name → ms), evenly."""
    dice = random.Random(seed)
    names = [dice.choice(list(tiers)) for _ in range(count)]
    order = [dice.randrange(pictures) for _ in range(count)]
    return Asked([f"tier={name}" for name in names], order, [tiers[name] for name in names])


async def replay(client: Client, port: int, arrivals: Arrivals, wishes: Asked, album: list[Photograph]) -> list[Sent]:
    requests = _requests(port, wishes, album)
    return await open_loop(client, requests, [float(time_s) for time_s in arrivals.times_s])


async def capacity(client: Client, port: int, model: str, album: list[Photograph], *, workers: int) -> float:
    """Answers a second of that model, all the way through HTTP, when two requests per worker are always under way."""
    queries = Asked([f"model={model}&{ANY_BUDGET}"] * len(album), list(range(len(album))), [])
    requests = _requests(port, queries, album)
    return await closed_loop(client, requests, workers * 2, 2.5)


def outcome(sent: Sent, budget_ms: float, truth: int, accuracies: dict[str, float]) -> Outcome:
    """What the answer says: which model it is from, and whether its first class is the right one."""
    if sent.status != 200:
        return Outcome(sent.status, sent.latency_ms, budget_ms, late_ms=sent.late_ms)
    answer: dict[str, Any] = json.loads(sent.body)
    model = str(answer["model"]["name"])
    correct = int(answer["predictions"][0]["class_id"]) == truth
    wasted_ms = _work_ms(answer) if sent.latency_ms > budget_ms else 0.0
    return Outcome(200, sent.latency_ms, budget_ms, model, accuracies[model], correct, wasted_ms)


def outcomes(
    sents: Sequence[Sent], wishes: Asked, album: list[Photograph], accuracies: dict[str, float]
) -> list[Outcome]:
    """Missed requests leave no trace of their work: each is taken to have cost as much as the median answer did."""
    found = [
        outcome(sent, budget_ms, album[picture].class_id, accuracies)
        for sent, budget_ms, picture in zip(sents, wishes.budgets_ms, wishes.pictures, strict=True)
    ]
    works = [_work_ms(json.loads(sent.body)) for sent in sents if sent.status == 200]
    typical_ms = float(np.median(works)) if works else 0.0
    return [replace(seen, wasted_ms=typical_ms) if seen.status == 504 else seen for seen in found]


def _work_ms(answer: dict[str, Any]) -> float:
    return float(answer["timing_ms"]["decode"] + answer["timing_ms"]["infer"])


def _requests(port: int, wishes: Asked, album: list[Photograph]) -> list[bytes]:
    return [
        post(f"/v1/classify?top_k=1&{query}", album[picture].jpeg, port)
        for query, picture in zip(wishes.queries, wishes.pictures, strict=True)
    ]
