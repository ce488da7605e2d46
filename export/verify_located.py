"""The gates of detectors and segmenters: the numbers before the last step like a classifier's, the answers by matching.

before      every point's score and box, or the logits of the map: float32's own error and no more (export.verify)
detections  ≥ 99.5 % of the things that torch finds have one of the same class with IoU ≥ 0.95 and nearly its score, and
            vice versa
masks       of things that match, ≥ 99.9 % of all cells and ≥ 99 % of each mask's on the same side of 0.5
pixels      ≥ 99.9 % of the map's pixels have torch's class
segments    ≥ 99.9 % of the pixels belong to torch's segment of a panoptic map
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from export.errors import GateFailure
from export.reference import Reference
from export.verify import CONTRACT_GATES, GATES, Evidence, Gates, Refused, Results, gather
from service.manifest import TensorSpec

LEAST_IOU = 0.95
SCORE_TOLERANCE = 1e-3
# Things less sure than this are noise, and fall either way.
SCORE_FLOOR = 0.05
# Of the input. A box that the picture's edge cuts to a line has no overlap with itself, and the service drops it.
LEAST_SIDE = 1e-3
LEAST_AGREEMENT = 0.999
LEAST_OF_A_MASK = 0.99
# Of two boxes whose overlap is the suppression's limit to the last bit, rounding decides which one stays.
LEAST_MATCHED = 0.995

Arrays = dict[str, NDArray[np.float64]]
Gate = Callable[[Evidence], str]
_NUMERIC = {name: gate for name, gate in GATES if name in ("batch", "finite", "independent_rows", "error", "cosine")}
DECLARED_GATES: Gates = tuple(
    (name, gate) for name, gate in CONTRACT_GATES if name in ("names", "dtypes", "shapes", "batch", "finite")
)


def verify_located(
    tapped: Path, published: Path, outputs: tuple[TensorSpec, ...], taps: tuple[TensorSpec, ...], reference: Reference
) -> Results:
    """(gate, what was measured) for every gate. Raises GateFailure with all the refusals if there is any.

    tapped, published    the graph with and without the numbers before the last step
    """
    before = gather(tapped, taps, reference)
    before = replace(before, outputs={name: v for name, v in before.outputs.items() if name in {t.name for t in taps}})
    after = gather(published, outputs, reference)
    gates = [(f"before_{name}", gate, before) for name, gate in _NUMERIC.items()]
    gates += [(name, gate, after) for name, gate in DECLARED_GATES]
    gates += [(name, gate, after) for name, gate in answer_gates({spec.name for spec in outputs})]
    results: list[tuple[str, str]] = []
    failures: list[tuple[str, str]] = []
    for name, gate, evidence in gates:
        try:
            results.append((name, gate(evidence)))
        except Refused as err:
            failures.append((name, str(err)))
    if failures:
        raise GateFailure(tuple(failures))
    return tuple(results)


def answer_gates(names: set[str]) -> list[tuple[str, Gate]]:
    """The gates for what the contract's outputs say."""
    if "class_map" in names:
        return [("pixels", _pixels), *([("segments", _segments)] if "segment_map" in names else [])]
    return [("detections", _detections), *([("masks", _masks)] if "masks" in names else [])]


def _candidates(evidence: Evidence) -> list[tuple[str, Arrays, int]]:
    """Every answer of the candidate, and which picture its first row is."""
    found: list[tuple[str, Arrays, int]] = []
    runs: list[tuple[str, Arrays | str, int]] = [
        (f"batch {n}", answers, 0) for n, answers in evidence.answers.items()
    ] + [("alone", evidence.alone, 2)]
    for where, answers, first in runs:
        if isinstance(answers, str):
            raise Refused(f"does not run, {where}: {answers}")
        for name, truth in evidence.reference.float64.items():
            # The taps of the reference are no outputs of what is published.
            if name in answers and answers[name].shape[1:] != truth.shape[1:]:
                raise Refused(f"{name} of a picture is {answers[name].shape[1:]}, not {truth.shape[1:]}, {where}")
        found.append((where, answers, first))
    return found


def _pixels(evidence: Evidence) -> str:
    return _agreement(evidence, "class_map")


def _segments(evidence: Evidence) -> str:
    return _agreement(evidence, "segment_map")


def _agreement(evidence: Evidence, name: str) -> str:
    truth, least = evidence.reference.float64[name], 1.0
    if sum(len(np.unique(picture)) > 1 for picture in truth) * 2 < len(truth):
        raise Refused("torch gives one value to most pictures as a whole: that compares nothing")
    for where, answers, first in _candidates(evidence):
        ours = answers[name]
        agreement = float((ours == truth[first : first + len(ours)]).mean())
        if not agreement >= LEAST_AGREEMENT:
            raise Refused(f"{agreement:.4%} of the pixels agree, {where}")
        least = min(least, agreement)
    return f"{least:.4%} ≥ {LEAST_AGREEMENT:.1%}"


def _detections(evidence: Evidence) -> str:
    truth, compared, alone = evidence.reference.float64, 0, 0
    worst = (0.0, "")
    for where, ours, first in _candidates(evidence):
        for row in range(len(ours["scores"])):
            one, other = _row(ours, row), _row(truth, first + row)
            for these, those in ((other, one), (one, other)):
                pairs, single = paired(these, those)
                compared, alone = compared + len(pairs), alone + len(single)
                worst = max(worst, *((score, where) for score in single)) if single else worst
    if not compared + alone:
        raise Refused("torch finds nothing in any picture: that compares nothing")
    if alone > (1 - LEAST_MATCHED) * (compared + alone):
        raise Refused(
            f"{alone} of {compared + alone} things have no counterpart, the surest of score {worst[0]:.3f}, {worst[1]}"
        )
    said = f"{compared} matched by class at IoU ≥ {LEAST_IOU}, scores within {SCORE_TOLERANCE}"
    return said + (f"; {alone} not, at most {1 - LEAST_MATCHED:.1%}" if alone else "")


def _masks(evidence: Evidence) -> str:
    truth, agreements = evidence.reference.float64, list[float]()
    for _, ours, first in _candidates(evidence):
        for row in range(len(ours["scores"])):
            one, other = _row(ours, row), _row(truth, first + row)
            for i, j in paired(other, one)[0]:
                agreements.append(float(((other["masks"][i] > 0.5) == (one["masks"][j] > 0.5)).mean()))
    if not agreements:
        raise Refused("no thing has a counterpart whose mask could be compared")
    mean, least = float(np.mean(agreements)), min(agreements)
    if not (mean >= LEAST_AGREEMENT and least >= LEAST_OF_A_MASK):
        raise Refused(f"masks agree in {mean:.3%} of their cells, one in {least:.3%}")
    return f"{mean:.3%} ≥ {LEAST_AGREEMENT:.1%}, each {least:.2%} ≥ {LEAST_OF_A_MASK:.0%}"


def paired(these: Arrays, those: Arrays) -> tuple[list[tuple[int, int]], list[float]]:
    """(slot, slot) of each thing of `these` and its counterpart among `those`, and the scores of those without one.

    One to one, or an answer that says a thing twice, as without suppression, would match one that says it once. As
    many pairs as there can be, and of two ways to have as many the one of more overlap. Where all slots of `those` are
    taken, a thing no surer than the last of them may have fallen off the end.
    """
    last = float(those["scores"].min())
    certain = SCORE_FLOOR if last <= 0 else max(SCORE_FLOOR, last + SCORE_TOLERANCE)
    sides = these["boxes"][:, 2:] - these["boxes"][:, :2]
    things = np.flatnonzero((these["scores"] >= certain) & ~(sides < LEAST_SIDE).any(1))
    worth = np.zeros((len(things), len(those["scores"])))
    for row, i in enumerate(things):
        overlap = iou(these["boxes"][i], those["boxes"])
        good = (
            (overlap >= LEAST_IOU)
            & (those["classes"] == these["classes"][i])
            & (np.abs(those["scores"] - these["scores"][i]) <= SCORE_TOLERANCE)
        )
        worth[row, good] = len(things) + overlap[good]  # a pair more is worth more than any overlap
    chosen = [(row, int(j)) for row, j in zip(*linear_sum_assignment(worth, maximize=True), strict=True)]
    pairs = [(int(things[row]), j) for row, j in chosen if worth[row, j]]
    found = {i for i, _ in pairs}
    return pairs, [float(these["scores"][i]) for i in things if i not in found]


def matched(these: Arrays, those: Arrays) -> list[tuple[int, int]]:
    """(slot, slot) of each thing of `these` and its counterpart among `those`; raises Refused if one has none."""
    pairs, single = paired(these, those)
    if single:
        raise Refused(f"a thing of score {max(single):.3f} has no counterpart")
    return pairs


def iou(box: NDArray[np.float64], boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """(K,): intersection over union of one box with each of (K, 4), xyxy."""
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    common = sides.clip(min=0).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) + (box[2:] - box[:2]).prod() - common
    overlap: NDArray[np.float64] = np.divide(common, areas, out=np.zeros_like(common), where=areas > 0)
    return overlap


def _row(arrays: Arrays, row: int) -> Arrays:
    return {name: array[row] for name, array in arrays.items()}
