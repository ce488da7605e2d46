"""Entry → plan in its place, straight through: graph, cache or build, gates, profile, swap."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.catalogue.row import Row
from export.errors import GateFailure
from export.fp16.crops import crops
from export.fp16.judge import changed
from export.profile import BATCHES, FEWEST_RUNS, MOST_RUNS, SECONDS_PER_BATCH, fit_line
from export.quantisation.judge import Answers, answers, photographs_agree
from export.steps import Say
from export.tensorrt.builder import BatchRange, PlanBuilder, PlanRunner, Target
from export.tensorrt.cache import Key, PlanCache
from export.tensorrt.graph import for_tensorrt
from export.tensorrt.judge import judge_plan
from export.tensorrt.swap import as_plan, next_version, swap_in
from export.upstream import upstream
from export.verify import Results
from service.entry_config import read_onnx_entry
from service.entry_files import file_sha256, onnx_path
from service.manifest import Accuracy, ModelCard, Profile, TensorRtPlan

# Seven of them are the photographs that INT8 was published by.
SHOWN = 7


@dataclass(frozen=True, slots=True)
class Made:
    """What one build works with. `folder` is for the graph that TensorRT is given."""

    row: Row
    entry: Path
    folder: Path
    builder: PlanBuilder
    cache: PlanCache

    @property
    def graph(self) -> Path:
        return self.folder / "for_tensorrt.onnx"


def wanted_key(made: Made) -> Key:
    """Writes the graph for TensorRT, and says which plan is wanted. Raises GraphError."""
    card = read_onnx_entry(made.entry)
    for_tensorrt(card, made.entry.parent, made.graph)
    return Key.of(file_sha256(made.graph), made.builder.target, batch_range(card))


def batch_range(card: ModelCard) -> BatchRange:
    """One picture to the card's limit, quickest at the largest batch that is profiled."""
    most = max(1, card.max_batch_size)
    return BatchRange(1, max(batch for batch in (1, *BATCHES) if batch <= most), most)


def make_plan(made: Made, key: Key, say: Say) -> ModelCard:
    """The card of the entry, now served from the plan. Raises ExportError; ONNX Runtime then answers as before."""
    onnx = read_onnx_entry(made.entry)
    pixels = pictures(made.row, onnx)
    say("build plan")
    plan = made.cache.find(key)
    if plan is None:
        plan = made.builder.build(made.graph, key.batches)
    with made.builder.opened(plan) as runner:
        say("verify")
        expected = answers(made.graph, pixels)
        accuracy, requantised = judge_requantised(onnx, made, pixels, expected)
        results = judge_plan(onnx, runner, pixels, expected)
        say("profile")
        measured = profile(runner, made.builder.target, pixels, key.batches.most)
    # Only what has passed is kept: the next run takes it from there without a question.
    sha256 = made.cache.keep(key, plan)
    known = TensorRtPlan(sha256, key.digest, key.tensorrt, key.compute_capability, version=next_version(made.entry))
    verification = tuple(sorted((*onnx.verification, *requantised, *results)))
    card = as_plan(onnx, plan=known, accuracy=accuracy, verification=verification, profile=measured)
    say("publish")
    swap_in(made.entry, card, plan)
    return card


_LOCATED_PICTURES = 7


def pictures(row: Row, card: ModelCard) -> NDArray[np.uint8]:
    """(N, H, W, 3): crops of photographs for a classifier, seven whole photographs for what finds things in them."""
    if card.task == "classify":
        return crops(upstream(row))
    from export.located import pictures as located_pictures

    return located_pictures(card.resize, _LOCATED_PICTURES)


def judge_requantised(
    card: ModelCard, made: Made, pixels: NDArray[np.uint8], given: Answers
) -> tuple[Accuracy | None, Results]:
    """The accuracy that the plan may claim, and what was measured. Raises GateFailure.

    Anything but INT8 is the published graph itself. INT8 was quantised again, and nobody knows what that costs: it must
    pass the published one's gate on the photographs, and every crop that it alone gives another class counts as lost.
    """
    if card.precision != "int8":
        return card.accuracy, ()
    repository = made.entry.parent
    fp32 = answers(onnx_path(repository / card.variant_of), pixels)
    shown = ({name: array[:SHOWN] for name, array in some.items()} for some in (fp32, given))
    passes, said = photographs_agree(*shown)
    if not passes:
        raise GateFailure((("plan_requantised", said),))
    published = answers(onnx_path(made.entry), pixels)
    lost = max(0, changed(fp32, given) - changed(fp32, published))
    accuracy = card.accuracy
    if accuracy is not None and lost:
        points = round(100 * lost / len(pixels), 2)
        why = f"{accuracy.source}; minus {points:g} points: for TensorRT, {lost} of {len(pixels)} more crops changed"
        accuracy = replace(accuracy, value=round(accuracy.value - points, 3), source=why)
    return accuracy, (("plan_requantised", said),)


def profile(runner: PlanRunner, target: Target, pixels: NDArray[np.uint8], most: int) -> Profile:
    """Median latency by batch with the copies to the GPU and back, and the line through it."""
    p50_ms = []
    for batch in (batch for batch in BATCHES if batch <= most):
        repeated = np.resize(pixels, (batch, *pixels.shape[1:]))
        runner.run(repeated)
        taken_ms: list[float] = []
        while len(taken_ms) < FEWEST_RUNS or (len(taken_ms) < MOST_RUNS and sum(taken_ms) < 1e3 * SECONDS_PER_BATCH):
            taken_ms.append(_run_ms(runner, repeated))
        p50_ms.append((batch, round(statistics.median(taken_ms), 3)))
    alpha_ms, beta_ms = fit_line(tuple(p50_ms))
    device = f"{target.gpu}, tensorrt {target.tensorrt}"
    return Profile(device, round(alpha_ms, 3), round(beta_ms, 3), tuple(p50_ms))


def _run_ms(runner: PlanRunner, pixels: NDArray[np.uint8]) -> float:
    start_s = time.perf_counter()
    runner.run(pixels)
    return 1000 * (time.perf_counter() - start_s)
