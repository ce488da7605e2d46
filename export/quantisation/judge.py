"""The gates between an INT8 graph and the repository: the FP32 entry it is made from is the yardstick.

Speed and the photographs are judged on the device at hand, always: a CPU without dot-product instructions may be
slower with INT8, and one without VNNI can even overflow. Agreement and accuracy are judged on a folder of pictures
where there is one, else taken from the calibration ranges, which say what was measured when they were made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from export.errors import GateFailure
from export.profile import device
from export.quantisation.held_out import Verdict, held_out_verdicts
from export.quantisation.paired import Paired, time_in_pairs
from export.quantisation.pictures import Half
from export.quantisation.ranges import Measured
from export.reference import Reference
from export.verify import CONTRACT_GATES, Results, verify
from service.manifest import INPUT_NAME, TensorSpec

LEAST_COSINE = 0.95
# Below this the difference is not worth another file, and may be noise.
LEAST_SPEED_UP = 1.1
SECONDS_OF_TIMING = 2.0
PICTURES_A_RUN = 8

Answers = dict[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Trial:
    """What the gates look at: both graphs' answers to the photographs, their speed, and what was measured before."""

    fp32: Answers
    int8: Answers
    measured: Measured
    timing: Paired


def answers(onnx_file: Path, pixels: NDArray[np.uint8]) -> Answers:
    """Output name → (N, ...) of the graph for the pictures, at ONNX Runtime's default optimisation level."""
    session = ort.InferenceSession(onnx_file, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    parts = np.array_split(pixels, -(-len(pixels) // PICTURES_A_RUN))
    runs = [session.run(names, {INPUT_NAME: part}) for part in parts]
    return {name: np.concatenate([run[i] for run in runs]).astype(np.float64) for i, name in enumerate(names)}


def measure(fp32: Path, int8: Path, judging: Half) -> Measured:
    """Both graphs on pictures that nothing was calibrated on."""
    first, second = (answers(file, judging.pixels)["probabilities"].argmax(axis=1) for file in (fp32, int8))  # (N,)
    classes = judging.classes
    right = (0, 0) if classes is None else (int((first == classes).sum()), int((second == classes).sum()))
    agreeing = int((first == second).sum())
    return Measured(len(first), agreeing, classes is not None, *right, by=device())


def judge(
    fp32: Path, int8: Path, outputs: tuple[TensorSpec, ...], measured: Measured, pixels: NDArray[np.uint8]
) -> Results:
    """(gate, what was measured) for every gate. Raises GateFailure with all the refusals if there is any.

    pixels      at least seven photographs (N, H, W, 3)
    """
    expected = answers(fp32, pixels)
    # FP32's answers stand for the truth here; nothing but the contract is compared with them in `verify`.
    contract = verify(int8, outputs, Reference(pixels, expected, expected), CONTRACT_GATES)
    timing = time_in_pairs(fp32, int8, pixels[:1], SECONDS_OF_TIMING)
    trial = Trial(expected, answers(int8, pixels), measured, timing)
    return contract + judge_trial(trial)


def judge_trial(trial: Trial) -> Results:
    """The part of `judge` that looks at numbers only."""
    here = ((name, *gate(trial)) for name, gate in DEVICE_GATES)
    verdicts = (*held_out_verdicts(trial.measured), *here)
    failures = tuple((name, said) for name, passes, said in verdicts if not passes)
    if failures:
        raise GateFailure(failures)
    return tuple((name, said) for name, _, said in verdicts)


def _photographs(trial: Trial) -> Verdict:
    """On this device and now, whatever was measured elsewhere."""
    return photographs_agree(trial.fp32, trial.int8)


def photographs_agree(fp32: Answers, int8: Answers) -> Verdict:
    """Whether every photograph gets the same class from both, and nearly the same embedding."""
    first, second = (answer["probabilities"].argmax(axis=1) for answer in (fp32, int8))  # (N,)
    a, b = fp32["embedding"], int8["embedding"]  # (N, D)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosine = float(np.min(np.divide((a * b).sum(axis=1), lengths, out=np.zeros(len(a)), where=lengths > 0)))
    same = int((first == second).sum())
    said = f"same top-1 for {same} of {len(first)}, cosine of the embeddings {cosine:.4f}"
    return same == len(first) and cosine >= LEAST_COSINE, f"{said}, at least {LEAST_COSINE}, on this device"


def _faster(trial: Trial) -> Verdict:
    return faster(trial.timing)


def faster(timing: Paired) -> Verdict:
    """Whether the second graph, INT8, gains enough to be worth a file of its own."""
    passes = timing.ratio >= LEAST_SPEED_UP
    said = f"{timing.ratio:.2f} × {'≥' if passes else '<'} {LEAST_SPEED_UP:g} × FP32's speed"
    how = f"{timing.first_ms:.1f} against {timing.second_ms:.1f} ms, medians of {timing.pairs} alternating runs"
    return passes, f"{said}: {how} ({device()})"


DEVICE_GATES: tuple[tuple[str, Callable[[Trial], Verdict]], ...] = (
    ("photographs", _photographs),
    ("faster", _faster),
)
