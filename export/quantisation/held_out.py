"""The gates on what was measured on held-out pictures. They need no runtime, so what cannot pass is never tried."""

from __future__ import annotations

from collections.abc import Callable

from export.errors import GateFailure
from export.quantisation.ranges import Measured, TaskQuality

LEAST_AGREEMENT_PERCENT = 97.0
LEAST_ACCURACY_SHARE = 0.99

# Whether it passes, and what was measured.
Verdict = tuple[bool, str]


def agreement(measured: Measured) -> Verdict:
    passes = measured.agreement_percent >= LEAST_AGREEMENT_PERCENT
    said = f"{measured.agreement_percent:.1f} % {'≥' if passes else '<'} {LEAST_AGREEMENT_PERCENT:g} %"
    how = f"same top-1 as FP32 for {measured.agreeing} of {measured.pictures} pictures not calibrated on"
    return passes, f"{said}: {how} ({measured.by})"


def accuracy(measured: Measured) -> Verdict:
    if not measured.labelled:
        return True, "the pictures have no labels"
    passes = measured.int8_right >= LEAST_ACCURACY_SHARE * measured.fp32_right
    share = 100 * measured.int8_right / max(1, measured.fp32_right)
    said = f"{share:.1f} % {'≥' if passes else '<'} {100 * LEAST_ACCURACY_SHARE:g} % of FP32's"
    how = f"{measured.int8_right} against {measured.fp32_right} of {measured.pictures} labelled pictures right"
    return passes, f"{said}: {how}, none of them calibrated on"


def quality(measured: TaskQuality) -> Verdict:
    """Every metric for itself: half the boxes may overlap as well as before while all of them got sloppy."""
    passes = all(int8 >= LEAST_ACCURACY_SHARE * fp32 > 0 for _, fp32, int8 in measured.scores)
    said = ", ".join(f"{metric} {int8:.2f} against {fp32:.2f}" for metric, fp32, int8 in measured.scores)
    bound = f"{'each ≥' if passes else 'not each ≥'} {100 * LEAST_ACCURACY_SHARE:g} % of FP32's"
    return passes, f"{said}: {bound}, on {measured.pictures} ({measured.by})"


HELD_OUT_GATES: tuple[tuple[str, Callable[[Measured], Verdict]], ...] = (
    ("agreement", agreement),
    ("accuracy", accuracy),
)


def held_out_verdicts(measured: Measured | TaskQuality) -> tuple[tuple[str, bool, str], ...]:
    """(gate, whether it passes, what was measured)."""
    if isinstance(measured, TaskQuality):
        return (("accuracy", *quality(measured)),)
    return tuple((name, *gate(measured)) for name, gate in HELD_OUT_GATES)


def demand(measured: Measured | TaskQuality) -> None:
    """Raises GateFailure if the measurement alone is reason enough to refuse."""
    verdicts = held_out_verdicts(measured)
    failures = tuple((name, said) for name, passes, said in verdicts if not passes)
    if failures:
        raise GateFailure(failures)
