"""How long one decision takes: estimate and choose, among 4 and among 150 variants; the thread's processor time.

python -m benchmarks.decision_time
"""

from __future__ import annotations

import json
import time
from dataclasses import replace

import numpy as np

from benchmarks.device import RESULTS, circumstances, slug
from benchmarks.fleets import Fleet, read_fleet
from service.latency import Predictor
from service.manifest import Accuracy, Profile
from service.routing import Demand, Pressure, Refusal, Steadiness, choose, fullness
from service.variants import Variants

ROUNDS = 20_000


def variants(fleet: Fleet, count: int) -> Variants:
    """That many models, made of the fleet's: other accuracies, other profiles."""
    dice = np.random.default_rng(1)
    cards = []
    for number in range(count):
        card = fleet.cards[number % len(fleet.cards)]
        speed = float(dice.uniform(0.2, 5.0))
        accuracy = Accuracy(float(dice.uniform(60, 85)), "top-1", "imagenet-1k", "made up")
        profile = Profile("made up", speed, 10.0 * speed, ())
        cards.append(replace(card, name=f"model_{number:03}", accuracy=accuracy, profile=profile))
    return Variants(cards)


def measure(fleet: Fleet, count: int) -> dict[str, float]:
    """Microseconds."""
    candidates, predictor, steadiness, pressure = variants(fleet, count), Predictor(2), Steadiness(), Pressure()
    took_us = np.empty(ROUNDS)
    for number in range(ROUNDS):
        header = fleet.headers[number % len(fleet.headers)]
        wait_ms, demand, now_s = float(number % 90), Demand(float(20 + number % 480)), number * 1e-3
        started_ns = time.thread_time_ns()
        estimates = predictor.estimate(candidates, [header], spent_ms=1.0, wait_ms=wait_ms, wait_ms_by_model={})
        full = fullness(estimates, demand)
        choice = choose(
            candidates,
            estimates,
            demand,
            room_ms=200.0,
            steadiness=steadiness,
            pressure=pressure.at(full, now_s),
        )
        pressure.told(full, now_s, refused=isinstance(choice, Refusal))
        took_us[number] = (time.thread_time_ns() - started_ns) / 1e3
    return {f"p{percent}_us": round(float(np.percentile(took_us, percent)), 1) for percent in (50, 99)}


def main() -> None:
    fleet = read_fleet(RESULTS / f"service-times-{slug()}.json")
    found = {f"{count} variants": measure(fleet, count) for count in (4, 150)}
    path = RESULTS / f"decision-time-{slug()}.json"
    path.write_text(json.dumps({"circumstances": circumstances(), **found}, indent=1) + "\n", encoding="utf-8")
    print(found, "->", path)


if __name__ == "__main__":
    main()
