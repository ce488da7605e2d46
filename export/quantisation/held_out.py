"""The gates on what was measured on held-out pictures. They need no runtime, so what cannot pass is never tried."""

from __future__ import annotations

from collections.abc import Callable

from export.errors import GateFailure
from export.quantisation.ranges import Measured

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


HELD_OUT_GATES: tuple[tuple[str, Callable[[Measured], Verdict]], ...] = (
    ("agreement", agreement),
    ("accuracy", accuracy),
)


def demand(measured: Measured) -> None:
    """Raises GateFailure if the measurement alone is reason enough to refuse."""
    verdicts = ((name, *gate(measured)) for name, gate in HELD_OUT_GATES)
    failures = tuple((name, said) for name, passes, said in verdicts if not passes)
    if failures:
        raise GateFailure(failures)
