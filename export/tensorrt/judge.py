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


@dataclass(frozen=True, slots=True)
class Trial:
    """What ONNX Runtime and the plan answer to the same pictures (N, H, W, 3)."""

    card: ModelCard
    pixels: NDArray[np.uint8]
    expected: Answers
    found: Answers


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
    runs = [runner.run(part) for part in parts]
    found = {name: np.concatenate([run[name] for run in runs]).astype(np.float64) for name in expected}
    trial = Trial(card, pixels, expected, found)
    verdicts = (("finite", *_finite(trial)), *(_classes(trial) if card.task == "classify" else _located(trial)))
    refused = tuple((f"plan_{name}", said) for name, passes, said in verdicts if not passes)
    if refused:
        raise GateFailure(refused)
    ran = f"as promised, at batch {', '.join(map(str, answers))}"
    return (("plan_contract", ran), *((f"plan_{name}", said) for name, _, said in verdicts))


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
    bad = sum(int(np.count_nonzero(~np.isfinite(array))) for array in trial.found.values())
    return bad == 0, f"{bad} NaN or infinite numbers" if bad else "all"


def _classes(trial: Trial) -> list[Verdict]:
    precision = trial.card.precision
    # INT8's probabilities of a picture that shows nothing clear are anybody's; its embedding is not.
    names = ["embedding"] if precision == "int8" else list(trial.expected)
    expected, found = ({name: answers[name] for name in names} for answers in (trial.expected, trial.found))
    return [
        ("cosine", *cosine(expected, found, LEAST_COSINE[precision])),
        ("top1", *top1(trial.expected, trial.found, LEAST_AGREEMENT[precision])),
    ]


def _located(trial: Trial) -> list[Verdict]:
    """Boxes matched by class and overlap, maps pixel by pixel: as the entry itself was judged."""
    first = {name: array[:7] for name, array in trial.found.items()}
    answers: dict[int, Answers | str] = {batch: {k: v[:batch] for k, v in first.items()} for batch in BATCHES}
    alone = {name: array[2:3] for name, array in first.items()}
    truth = Reference(trial.pixels, trial.expected, trial.expected)
    evidence = Evidence({}, {}, answers, alone, trial.card.outputs, truth)
    verdicts: list[Verdict] = []
    for name, gate in answer_gates({spec.name for spec in trial.card.outputs}):
        try:
            verdicts.append((name, True, gate(evidence)))
        except Refused as err:
            verdicts.append((name, False, str(err)))
    return verdicts
