"""The gates between a plan and the entry: ONNX Runtime's answers, to the very graph that TensorRT was given.

Half a step of rounding here and there is TensorRT's right; another answer is not. How much is allowed depends on the
precision that the graph itself says.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.errors import GateFailure
from export.fp16.judge import cosine, top1
from export.quantisation.judge import Answers
from export.reference import Reference
from export.tensorrt.builder import Arrays, PlanRunner
from export.verify import Evidence, Refused, Results
from export.verify_located import answer_gates
from service.manifest import ModelCard

LEAST_COSINE = {"fp32": 0.9999, "fp16": 0.999, "int8": 0.95}
LEAST_AGREEMENT = {"fp32": 0.995, "fp16": 0.995, "int8": 0.97}
BATCHES = (1, 2, 7)
_DTYPES = {"FP32": np.float32, "INT32": np.int32, "UINT8": np.uint8}


# Which picture is also asked for by itself.
ALONE = 2


@dataclass(frozen=True, slots=True)
class Trial:
    """What ONNX Runtime and the plan answer to the same pictures (N, H, W, 3).

    found       to all of them, in batches as large as they may be
    batches     to the first 1, 2 and 7 in a run of their own: TensorRT may take other kernels for each size
    alone       to the picture number ALONE, by itself
    """

    card: ModelCard
    pixels: NDArray[np.uint8]
    expected: Answers
    found: Answers
    batches: dict[int, Answers]
    alone: Answers


def judge_plan(card: ModelCard, runner: PlanRunner, pixels: NDArray[np.uint8], expected: Answers) -> Results:
    """(gate, what was measured) for every gate. Raises GateFailure with all the refusals if there is any.

    expected    ONNX Runtime's answers to the pixels, from the graph that the plan was built of
    """
    most = max(1, card.max_batch_size)
    answers = {batch: runner.run(pixels[:batch]) for batch in BATCHES if batch <= most}
    failures = [failure for batch, arrays in answers.items() for failure in _contract(card, batch, arrays)]
    if failures:
        raise GateFailure(tuple(failures))
    parts = np.array_split(pixels, -(-len(pixels) // min(most, 32)))
    found = _joined([runner.run(part) for part in parts])
    batches = {batch: _joined([arrays]) for batch, arrays in answers.items()}
    alone = _joined([runner.run(pixels[ALONE : ALONE + 1])])
    trial = Trial(card, pixels, expected, found, batches, alone)
    verdicts = (("finite", *_finite(trial)), *(_classes(trial) if card.task == "classify" else _located(trial)))
    refused = tuple((f"plan_{name}", said) for name, passes, said in verdicts if not passes)
    if refused:
        raise GateFailure(refused)
    ran = f"as promised, at batch {', '.join(map(str, answers))}"
    return (("plan_contract", ran), *((f"plan_{name}", said) for name, _, said in verdicts))


def _joined(runs: list[Arrays]) -> Answers:
    return {name: np.concatenate([run[name] for run in runs]).astype(np.float64) for name in runs[0]}


def _contract(card: ModelCard, batch: int, arrays: Arrays) -> list[tuple[str, str]]:
    wanted = {spec.name for spec in card.outputs}
    if set(arrays) != wanted:
        return [("plan_contract", f"the outputs are {sorted(arrays)}, not {sorted(wanted)}")]
    wrong = []
    for spec in card.outputs:
        array = arrays[spec.name]
        if array.shape != (batch, *spec.dims) or array.dtype != _DTYPES[spec.dtype]:
            said = f"{spec.name} came back as {array.dtype} {list(array.shape)} at batch {batch}"
            wrong.append(("plan_contract", said))
    return wrong


Verdict = tuple[str, bool, str]


def _finite(trial: Trial) -> tuple[bool, str]:
    runs = (trial.found, trial.alone, *trial.batches.values())
    bad = sum(int(np.count_nonzero(~np.isfinite(array))) for run in runs for array in run.values())
    return bad == 0, f"{bad} NaN or infinite numbers" if bad else "all"


def _classes(trial: Trial) -> list[Verdict]:
    precision = trial.card.precision
    # INT8's probabilities of a picture that shows nothing clear are anybody's; its embedding is not.
    names = ["embedding"] if precision == "int8" else list(trial.expected)
    every = {name: np.concatenate([run[name] for _, run in _runs(trial)]) for name in names}
    wanted = {name: np.concatenate([trial.expected[name][rows] for rows, _ in _runs(trial)]) for name in names}
    return [
        ("cosine", *cosine(wanted, every, LEAST_COSINE[precision])),
        ("top1", *top1(trial.expected, trial.found, LEAST_AGREEMENT[precision])),
    ]


def _runs(trial: Trial) -> list[tuple[slice, Answers]]:
    """Every answer of the plan, and which pictures it is about."""
    parts = [(slice(0, batch), run) for batch, run in trial.batches.items()]
    return [(slice(None), trial.found), *parts, (slice(ALONE, ALONE + 1), trial.alone)]


def _located(trial: Trial) -> list[Verdict]:
    """Boxes matched by class and overlap, maps pixel by pixel: as the entry itself was judged."""
    answers: dict[int, Answers | str] = {**trial.batches, len(trial.pixels): trial.found}
    truth = Reference(trial.pixels, trial.expected, trial.expected)
    evidence = Evidence({}, {}, answers, trial.alone, trial.card.outputs, truth)
    verdicts: list[Verdict] = []
    for name, gate in answer_gates({spec.name for spec in trial.card.outputs}):
        try:
            verdicts.append((name, True, gate(evidence)))
        except Refused as err:
            verdicts.append((name, False, str(err)))
    return verdicts
