"""A fleet to simulate: models with what they promise (cards) and how long they really take, and the pictures sent.

Read from a results file of `benchmarks.service_times`, so that the simulation needs neither models nor photographs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.arrivals import Arrivals
from service.image_header import ImageHeader
from service.latency import Predictor
from service.manifest import Accuracy, ModelCard, Profile, ResizeRule, TensorSpec, Weights

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Spread:
    """Lognormal: median · exp(sigma · normal)."""

    median: float
    sigma: float

    def draw(self, dice: np.random.Generator, count: int) -> Floats:
        return np.asarray(self.median * np.exp(self.sigma * dice.standard_normal(count)))


@dataclass(frozen=True, slots=True)
class Fleet:
    """cards, run_ms  (V,) most accurate first     front_ms, post_ms  the gateway's own time before, after the work"""

    workers: int
    cards: tuple[ModelCard, ...]
    run_ms: tuple[Spread, ...]
    decode_over_prior: Spread
    headers: tuple[ImageHeader, ...]
    front_ms: float = 0.7
    post_ms: float = 0.7

    @property
    def accuracy(self) -> Floats:
        return np.array([card.accuracy.value if card.accuracy else 0.0 for card in self.cards])


@dataclass(frozen=True, slots=True)
class Workload:
    """Who comes when, with which picture, and how long it would really take on each model, whoever decides.

    times_s, budgets_ms (N,)     headers (N,)     decode_ms, run_ms  (N, V)
    """

    fleet: Fleet
    times_s: Floats
    headers: list[ImageHeader]
    decode_ms: Floats
    run_ms: Floats
    budgets_ms: Floats

    @property
    def budget_ms(self) -> float:
        """The budget that all have. Raises ValueError if they differ: then nothing is known of the best schedule."""
        if (self.budgets_ms != self.budgets_ms[0]).any():
            raise ValueError("the requests have different budgets")
        return float(self.budgets_ms[0])


def read_fleet(path: Path, *, workers: int | None = None) -> Fleet:
    """The measured fleet, on as many cores as it was measured on, or on `workers` of the same."""
    document = json.loads(path.read_text(encoding="utf-8"))
    models = sorted(document["models"], key=lambda model: -float(model["accuracy"]))
    return Fleet(
        workers=workers or int(document["cores"]),
        cards=tuple(_card(model) for model in models),
        run_ms=tuple(Spread(**model["run_ms"]) for model in models),
        decode_over_prior=Spread(**document["decode_over_prior"]),
        headers=tuple(ImageHeader("jpeg", width, height) for width, height in document["pictures"]),
    )


def workload(fleet: Fleet, arrivals: Arrivals, budget_ms: float | Floats, seed: int) -> Workload:
    """Dice rolled once for all policies: they meet the same pictures and the same slow runs.

    budget_ms  of all of them, or (N,) of each
    """
    dice = np.random.default_rng([seed, 1])
    count = len(arrivals.times_s)
    headers = [fleet.headers[i] for i in dice.integers(len(fleet.headers), size=count)]
    prior = Predictor()  # it has seen nothing: its decode times are the first guesses
    priors = np.array([[prior.decode_ms(h, card.resize) for card in fleet.cards] for h in headers])  # (N, V)
    decode_ms = priors * fleet.decode_over_prior.draw(dice, count)[:, np.newaxis]
    run_ms = np.stack([spread.draw(dice, count) for spread in fleet.run_ms], axis=1)  # (N, V)
    return Workload(fleet, arrivals.times_s, headers, decode_ms, run_ms, np.broadcast_to(budget_ms, (count,)))


def capacity_per_s(fleet: Fleet, model: int) -> float:
    """Pictures a second that all workers together do with that model and nothing else."""
    prior = Predictor()
    decode_ms = np.mean([prior.decode_ms(header, fleet.cards[model].resize) for header in fleet.headers])
    decode, run = fleet.decode_over_prior, fleet.run_ms[model]
    mean_ms = decode_ms * decode.median * np.exp(decode.sigma**2 / 2) + run.median * np.exp(run.sigma**2 / 2)
    return float(fleet.workers / mean_ms * 1e3)


def alike(fleet: Fleet) -> Fleet:
    """The same fleet for pictures that are all alike, on a machine whose times do not vary."""
    prior = Predictor()
    times_ms = np.array([prior.decode_ms(header, fleet.cards[-1].resize) for header in fleet.headers])
    typical = fleet.headers[int(np.abs(times_ms - times_ms.mean()).argmin())]
    return replace(
        fleet,
        headers=(typical,),
        decode_over_prior=replace(fleet.decode_over_prior, sigma=0.0),
        run_ms=tuple(replace(run, sigma=0.0) for run in fleet.run_ms),
    )


def scaled(fleet: Fleet, faster: float) -> Fleet:
    """The same models on something `faster` times as fast; decoding stays as it is. The cards still say the old times.

    The live correction has to find out.
    """
    return replace(fleet, run_ms=tuple(Spread(run.median / faster, run.sigma) for run in fleet.run_ms))


def _card(model: dict[str, Any]) -> ModelCard:
    side = int(model["size_px"])
    return ModelCard(
        name=model["name"],
        variant_of=model["name"],
        task="classify",
        family="simulated",
        precision="fp32",
        backend="onnxruntime",
        max_batch_size=1,
        resize=ResizeRule("crop", (side, side), "bicubic", int(model["shorter_side_px"])),
        outputs=(TensorSpec("probabilities", "FP32", (1000,)),),
        label_set="imagenet-1k",
        label_names=(),
        accuracy=Accuracy(float(model["accuracy"]), "top-1", "imagenet-1k", "the model's card"),
        weights=Weights("package", "simulated", "none", "0" * 64),
        params=0,
        flops=0,
        onnx_sha256="0" * 64,
        onnx_bytes=0,
        verification=(),
        profile=Profile("the model's card", float(model["alpha_ms"]), float(model["beta_ms"]), ()),
    )
