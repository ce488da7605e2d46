"""The gates between an FP16 graph and the repository: the FP32 entry it is made from is the yardstick.

Nothing here asks whether it is faster: on most CPUs it is not, and the GPU that it is for may not be at hand.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.errors import GateFailure
from export.quantisation.judge import Answers, answers
from export.reference import Reference
from export.verify import CONTRACT_GATES, Results, row_cosines, verify
from service.manifest import TensorSpec

LEAST_COSINE = 0.999
LEAST_AGREEMENT = 0.995

# Rows of a batch are compared below, with room for half precision's rounding.
CONTRACT = tuple((name, gate) for name, gate in CONTRACT_GATES if name != "independent_rows")


def judge(fp32: Path, fp16: Path, outputs: tuple[TensorSpec, ...], pixels: NDArray[np.uint8]) -> tuple[Results, int]:
    """(gate, what was measured) for every gate, and how many pictures got another class. Raises GateFailure.

    pixels      many pictures (N, H, W, 3); the first seven are also what the contract's gates run on
    """
    expected = answers(fp32, pixels)
    first = {name: array[:7] for name, array in expected.items()}
    contract = verify(fp16, outputs, Reference(pixels[:7], first, first), CONTRACT)
    found = answers(fp16, pixels)
    alone = {name: np.concatenate(rows) for name, rows in _one_by_one(fp16, pixels[:7]).items()}
    together = {name: array[:7] for name, array in found.items()}
    verdicts = (
        ("cosine", *cosine(expected, found)),
        ("independent_rows", *cosine(together, alone)),
        ("top1", *top1(expected, found)),
    )
    failures = tuple((name, said) for name, passes, said in verdicts if not passes)
    if failures:
        raise GateFailure(failures)
    return contract + tuple((name, said) for name, _, said in verdicts), changed(expected, found)


def cosine(expected: Answers, found: Answers, least: float = LEAST_COSINE) -> tuple[bool, str]:
    """Whether every output of every picture points the same way. A NaN does not pass."""
    worst = min(float(row_cosines(found[name], expected[name]).min()) for name in expected)
    passes = worst >= least
    return passes, f"{worst:.6f} {'≥' if passes else '<'} {least:g}"


def top1(expected: Answers, found: Answers, least: float = LEAST_AGREEMENT) -> tuple[bool, str]:
    count = len(expected["probabilities"])
    same = count - changed(expected, found)
    passes = same >= least * count
    return passes, f"same top-1 for {same} of {count} {'≥' if passes else '<'} {100 * least:g} %"


def changed(expected: Answers, found: Answers) -> int:
    """Pictures whose most likely class is another one."""
    winners = (answer["probabilities"].argmax(axis=1) for answer in (expected, found))
    return int(np.not_equal(*winners).sum())


def _one_by_one(onnx_file: Path, pixels: NDArray[np.uint8]) -> dict[str, list[NDArray[np.float64]]]:
    rows = [answers(onnx_file, pixels[i : i + 1]) for i in range(len(pixels))]
    return {name: [row[name] for row in rows] for name in rows[0]}
