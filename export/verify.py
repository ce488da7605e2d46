"""The gates between an exported graph and the repository. A graph passes all of them or is not published.

A candidate is judged by what it answers to real pictures, against torch in float64. How far it may be off is measured,
not fixed: three times what float32 itself is off in torch, for deep random networks carry percents of rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from export.errors import GateFailure
from export.reference import Reference
from service.manifest import INPUT_NAME, TensorSpec

BATCHES = (1, 2, 7)
ROUNDING_FACTOR = 3.0
ERROR_FLOOR = 1e-6
LEAST_COSINE = 0.9999
# However noisy float32 itself is in a network, a graph that is further off than this is another network.
LEAST_COSINE_OF_NOISE = 0.99

Answers = dict[str, NDArray[np.float64]]
Results = tuple[tuple[str, str], ...]


class Refused(Exception):
    """One gate's reason. Never leaves the gates."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything the gates look at.

    inputs, outputs    as the graph declares them: name → (ONNX Runtime type, dims; a name stands for a free axis)
    answers            batch size → outputs for the first pictures, or why the graph did not run at that size
    alone              the third picture, run alone
    """

    inputs: dict[str, tuple[str, list[int | str]]]
    outputs: dict[str, tuple[str, list[int | str]]]
    answers: dict[int, Answers | str]
    alone: Answers | str
    expected: tuple[TensorSpec, ...]
    reference: Reference

    @property
    def most(self) -> int:
        """The largest batch that was run: every picture of the reference."""
        return max(self.answers)


Gates = tuple[tuple[str, Callable[[Evidence], str]], ...]


def verify(
    onnx_file: Path, expected: tuple[TensorSpec, ...], reference: Reference, gates: Gates | None = None
) -> Results:
    """(gate, what was measured) for every gate. Raises GateFailure with all the refusals if there is any.

    expected    the outputs that the card is going to promise
    reference   seven pictures, or at least three of a network that takes long: the largest batch
    gates       left out: GATES
    """
    evidence = gather(onnx_file, expected, reference)
    results: list[tuple[str, str]] = []
    failures: list[tuple[str, str]] = []
    for name, gate in GATES if gates is None else gates:
        try:
            results.append((name, gate(evidence)))
        except Refused as err:
            failures.append((name, str(err)))
    if failures:
        raise GateFailure(tuple(failures))
    return tuple(results)


def gather(onnx_file: Path, expected: tuple[TensorSpec, ...], reference: Reference) -> Evidence:
    """Runs the candidate on the CPU at ONNX Runtime's default optimisation level, as it will be served."""
    try:
        session = ort.InferenceSession(onnx_file, providers=["CPUExecutionProvider"])
    except Exception as err:  # ONNX Runtime's exceptions share no class of their own
        raise GateFailure((("load", _line(err)),)) from err
    inputs = {i.name: (i.type, i.shape) for i in session.get_inputs()}
    outputs = {o.name: (o.type, o.shape) for o in session.get_outputs()}
    pixels = reference.pixels
    batches = (*BATCHES[:-1], min(BATCHES[-1], len(pixels)))
    answers = {batch: _run(session, pixels[:batch]) for batch in batches}
    return Evidence(inputs, outputs, answers, _run(session, pixels[2:3]), expected, reference)


def _run(session: ort.InferenceSession, pixels: NDArray[np.uint8]) -> Answers | str:
    names = [output.name for output in session.get_outputs()]
    try:
        arrays = session.run(names, {INPUT_NAME: pixels})
    except Exception as err:
        return _line(err)
    return {name: np.asarray(array, dtype=np.float64) for name, array in zip(names, arrays, strict=True)}


def _names(evidence: Evidence) -> str:
    wanted = {spec.name for spec in evidence.expected}
    if set(evidence.inputs) != {INPUT_NAME} or set(evidence.outputs) != wanted:
        raise Refused(f"{_listed(evidence.inputs)} → {_listed(evidence.outputs)}, not {INPUT_NAME} → {_listed(wanted)}")
    return f"{INPUT_NAME} → {_listed(wanted)}"


def _dtypes(evidence: Evidence) -> str:
    declared = {name: type_ for name, (type_, _) in (evidence.inputs | evidence.outputs).items()}
    wanted = {INPUT_NAME: "tensor(uint8)"} | {spec.name: _ORT_TYPES[spec.dtype] for spec in evidence.expected}
    for name, type_ in wanted.items():
        if declared.get(name) != type_:
            raise Refused(f"{name} is {declared.get(name)}, not {type_}")
    return "as promised"


def _shapes(evidence: Evidence) -> str:
    declared = {name: dims for name, (_, dims) in (evidence.inputs | evidence.outputs).items()}
    wanted = {INPUT_NAME: list(evidence.reference.pixels.shape[1:])}
    wanted |= {spec.name: list(spec.dims) for spec in evidence.expected}
    for name, dims in wanted.items():
        if declared.get(name, [])[1:] != dims:
            raise Refused(f"{name} is {declared.get(name)}, not {['N', *dims]}")
    for batch in evidence.answers:
        for spec in evidence.expected:
            shape = _answer(evidence, batch, spec.name).shape
            if shape != (batch, *spec.dims):
                raise Refused(f"{spec.name} came back as {list(shape)} at batch {batch}")
    return "as promised"


def _batch(evidence: Evidence) -> str:
    for name, (_, dims) in (evidence.inputs | evidence.outputs).items():
        if not dims or isinstance(dims[0], int):
            raise Refused(f"the batch axis of {name} is fixed: {dims}")
    for batch, answer in evidence.answers.items():
        if isinstance(answer, str):
            raise Refused(f"does not run at batch {batch}: {answer}")
    return f"ran at {', '.join(map(str, evidence.answers))}"


def _finite(evidence: Evidence) -> str:
    for spec in evidence.expected:
        for batch in evidence.answers:
            bad = np.count_nonzero(~np.isfinite(_answer(evidence, batch, spec.name)))
            if bad:
                raise Refused(f"{bad} NaN or infinite numbers in {spec.name} at batch {batch}")
    return "all"


def _not_constant(evidence: Evidence) -> str:
    for spec in evidence.expected:
        answer = _answer(evidence, evidence.most, spec.name)
        if np.ptp(answer, axis=0).max() == 0:
            raise Refused(f"{spec.name} is the same for every picture")
        if np.ptp(answer.reshape(len(answer), -1), axis=1).min() == 0:
            raise Refused(f"{spec.name} holds one number repeated")
    return "every output"


def _independent(evidence: Evidence) -> str:
    """The same picture must get the same answer in every company, up to rounding."""
    worst, allowed = 0.0, np.inf
    for spec in evidence.expected:
        together = _answer(evidence, evidence.most, spec.name)
        bound = _bound(evidence, spec.name)
        pairs = [(_answer(evidence, batch, spec.name), together[:batch]) for batch in evidence.answers]
        if isinstance(evidence.alone, str):
            raise Refused(f"does not run: {evidence.alone}")
        pairs.append((_named(evidence.alone, spec.name), together[2:3]))
        error = max(_error(ours, theirs) for ours, theirs in pairs)
        if not error <= bound:
            raise Refused(f"{spec.name} of a picture depends on its batch: {error:.1e} > {bound:.1e}")
        worst, allowed = max(worst, error), min(allowed, bound)
    return f"{worst:.1e} ≤ {allowed:.1e}"


def _errors(evidence: Evidence) -> str:
    said: list[str] = []
    refused = False
    for spec in evidence.expected:
        error = _error(_answer(evidence, evidence.most, spec.name), _truth(evidence, spec.name))
        bound = _bound(evidence, spec.name)
        # Written so that a NaN on either side refuses.
        refused |= not error <= bound
        said.append(f"{spec.name} {error:.1e} {'≤' if error <= bound else '>'} {bound:.1e}")
    if refused:
        raise Refused(", ".join(said))
    return ", ".join(said)


def _cosine(evidence: Evidence) -> str:
    least, allowed = 1.0, LEAST_COSINE
    for spec in evidence.expected:
        ours, truth = _answer(evidence, evidence.most, spec.name), _truth(evidence, spec.name)
        bound = _least_cosine(evidence, spec.name)
        if ours.shape != truth.shape:
            raise Refused(f"{spec.name} is {ours.shape}, not {truth.shape}")
        cosine = row_cosines(ours, truth).min()
        if not cosine >= bound:
            raise Refused(f"{spec.name} {cosine:.6f} < {bound:.4f}")
        least, allowed = min(least, float(cosine)), min(allowed, bound)
    return f"{least:.7f} ≥ {allowed:.4f}"


def _top1(evidence: Evidence) -> str:
    truth, ours = _truth(evidence, "probabilities"), _answer(evidence, evidence.most, "probabilities")
    if ours.shape != truth.shape:
        raise Refused(f"probabilities are {ours.shape}, not {truth.shape}")
    rows = np.arange(len(truth))
    # A tie: two classes closer together than rounding is allowed to move them.
    tie = 2 * _bound(evidence, "probabilities") * np.abs(truth).max()
    behind = truth.max(axis=1) - truth[rows, ours.argmax(axis=1)]
    if not (behind <= tie).all():
        raise Refused(f"another class wins for {np.count_nonzero(~(behind <= tie))} of {len(truth)} pictures")
    return f"{len(truth)} of {len(truth)} pictures"


# What every graph owes, whatever its precision.
CONTRACT_GATES: Gates = (
    ("names", _names),
    ("dtypes", _dtypes),
    ("shapes", _shapes),
    ("batch", _batch),
    ("finite", _finite),
    ("not_constant", _not_constant),
    ("independent_rows", _independent),
)
# What a graph owes that claims to be the library's module.
GATES: Gates = (
    *CONTRACT_GATES,
    ("error", _errors),
    ("cosine", _cosine),
    ("top1", _top1),
)

_ORT_TYPES = {"FP32": "tensor(float)", "INT32": "tensor(int32)", "UINT8": "tensor(uint8)"}


def _answer(evidence: Evidence, batch: int, name: str) -> NDArray[np.float64]:
    answers = evidence.answers[batch]
    if isinstance(answers, str):
        raise Refused(f"does not run at batch {batch}: {answers}")
    return _named(answers, name)


def _named(answers: Answers, name: str) -> NDArray[np.float64]:
    if name not in answers:
        raise Refused(f"there is no output {name}")
    return answers[name]


def _truth(evidence: Evidence, name: str) -> NDArray[np.float64]:
    return evidence.reference.float64[name][: evidence.most]


def _bound(evidence: Evidence, name: str) -> float:
    """How far an output may be off."""
    rounding = _error(evidence.reference.float32[name], evidence.reference.float64[name])
    # Whether torch in float32 decided otherwise for one of so few pictures is chance: what that costs is allowed.
    return max(ROUNDING_FACTOR * rounding + ERROR_FLOOR, evidence.reference.inner_step)


def _least_cosine(evidence: Evidence, name: str) -> float:
    """LEAST_COSINE, or what the error that is allowed comes to where float32 itself is less exact than that.

    The cosine falls with the square of the error, so three times the error of torch's own float32 is nine times its
    gap. A thousand random layers carry percents of rounding, and the cosine then falls below 0.9999 in torch, too.
    """
    float32, float64 = evidence.reference.float32[name], evidence.reference.float64[name]
    gap = 1.0 - float(row_cosines(float32, float64).min())
    return max(LEAST_COSINE_OF_NOISE, min(LEAST_COSINE, 1.0 - ROUNDING_FACTOR**2 * gap))


def _error(ours: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """Largest difference as a share of the largest true number; infinite if the shapes differ, NaN if a number is."""
    if ours.shape != truth.shape:
        return float("inf")
    return float(np.abs(ours - truth).max() / max(np.abs(truth).max(), np.finfo(np.float32).tiny))


def row_cosines(ours: NDArray[np.float64], truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,): cosine between the two answers to each picture; 0 where an answer is all zero."""
    a, b = ours.reshape(len(ours), -1), truth.reshape(len(truth), -1)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    dots: NDArray[np.float64] = (a * b).sum(axis=1)
    cosines: NDArray[np.float64] = np.divide(dots, lengths, out=np.zeros_like(dots), where=lengths != 0)
    return cosines


def _listed(names: object) -> str:
    return ", ".join(sorted(names)) if isinstance(names, (set, dict)) else str(names)


def _line(err: Exception) -> str:
    return " ".join(str(err).split())[:300]
