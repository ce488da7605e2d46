"""The gates between an INT8 head and the repository.

Not those of FP32 (export.verify_located): another precision is meant to give other numbers. What counts is the task's
own metric on labelled pictures (`accuracy`), measured when the ranges were made; on the device at hand the contract,
that a picture's answer does not depend on its company, that photographs get nearly FP32's answer, and the speed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.errors import GateFailure
from export.quantisation.held_out import Verdict, held_out_verdicts
from export.quantisation.judge import SECONDS_OF_TIMING, Answers, answers, faster
from export.quantisation.paired import Paired, time_in_pairs
from export.quantisation.ranges import TaskQuality
from export.reference import Reference
from export.verify import Results, verify
from export.verify_located import DECLARED_GATES, answer_gates, iou
from service.manifest import TensorSpec

# Of things at least as sure as this, four of five must be found again where they were, nearly as sure.
SURE, LEAST_FOUND, LEAST_IOU, SCORE_TOLERANCE = 0.3, 0.8, 0.75, 0.1
LEAST_OF_MASKS = 0.9
# The photographs are no road scenes, so the map's classes are close to each other there.
LEAST_OF_PIXELS = 0.85


@dataclass(frozen=True, slots=True)
class HeadTrial:
    """What the gates look at: both graphs' answers to the photographs, their speed, and what was measured before."""

    fp32: Answers
    int8: Answers
    measured: TaskQuality
    timing: Paired


def judge_located(
    fp32: Path, int8: Path, outputs: tuple[TensorSpec, ...], measured: TaskQuality, pixels: NDArray[np.uint8]
) -> Results:
    """(gate, what was measured) for every gate. Raises GateFailure with all the refusals if there is any.

    pixels      at least seven photographs (N, H, W, 3)
    """
    own = answers(int8, pixels)
    contract = verify(int8, outputs, Reference(pixels, own, own), (*DECLARED_GATES, *_independent(own)))
    timing = time_in_pairs(fp32, int8, pixels[:1], SECONDS_OF_TIMING)
    return contract + judge_head_trial(HeadTrial(answers(fp32, pixels), own, measured, timing))


def _independent(own: Answers) -> list[tuple[str, Callable[..., str]]]:
    """FP32's gates for answers, with the graph's own as the truth: the same alone, in twos and in sevens."""
    return [(f"independent_{name}", gate) for name, gate in answer_gates(set(own))]


def judge_head_trial(trial: HeadTrial) -> Results:
    """The part of `judge_located` that looks at numbers only."""
    here = (("photographs", *photographs(trial.fp32, trial.int8)), ("faster", *faster(trial.timing)))
    verdicts = (*held_out_verdicts(trial.measured), *here)
    failures = tuple((name, said) for name, passes, said in verdicts if not passes)
    if failures:
        raise GateFailure(failures)
    return tuple((name, said) for name, _, said in verdicts)


def photographs(fp32: Answers, int8: Answers) -> Verdict:
    """Whether the photographs get nearly the same answer from both."""
    if "class_map" in fp32:
        share = float((fp32["class_map"] == int8["class_map"]).mean())
        said = f"{share:.1%} of the pixels have FP32's class, at least {LEAST_OF_PIXELS:.0%}, on this device"
        return share >= LEAST_OF_PIXELS, said
    sure = found = 0
    masks: list[float] = []
    for row in range(len(fp32["scores"])):
        one, other = ({name: array[row] for name, array in some.items()} for some in (fp32, int8))
        for these, those in ((one, other), (other, one)):
            for i in np.flatnonzero(these["scores"] >= SURE):
                sure += 1
                j = _counterpart(these, int(i), those)
                if j is not None:
                    found += 1
                    if "masks" in these:
                        masks.append(float(((these["masks"][i] > 0.5) == (those["masks"][j] > 0.5)).mean()))
    said = f"{found} of {sure} things of score ≥ {SURE} found again at IoU ≥ {LEAST_IOU}"
    passes = found > 0 and found >= LEAST_FOUND * sure
    if masks:
        agreement = float(np.mean(masks))
        said += f", their masks agree in {agreement:.1%} of the cells"
        passes &= agreement >= LEAST_OF_MASKS
    return passes, f"{said}, on this device"


def _counterpart(these: Answers, i: int, those: Answers) -> int | None:
    """The slot of the thing that overlaps most among those of the same class and nearly the same score."""
    overlap = iou(these["boxes"][i], those["boxes"])
    alike = (those["classes"] == these["classes"][i]) & (
        np.abs(those["scores"] - these["scores"][i]) <= SCORE_TOLERANCE
    )
    overlap = np.where(alike, overlap, 0.0)
    best = int(overlap.argmax())
    return best if overlap[best] >= LEAST_IOU else None
