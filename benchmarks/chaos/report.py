"""The trials as a table: a row for each fault and engine."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.chaos.load import RATE_PER_S
from benchmarks.chaos.trial import Trial
from benchmarks.reliability_page import table

_HEADS = [
    *("fault", "engine", "the client sees", "worst, ms", "`/health/ready`", "metrics that moved"),
    *("well again after, s", "sent = answered = counted"),
]


def report(faults: Sequence[str], trials: Sequence[Trial]) -> str:
    order = {name: i for i, name in enumerate(faults)}
    ran = sorted((t for t in trials if not t.not_run), key=lambda t: (order[t.fault], t.engine))
    left_out = sorted((t for t in trials if t.not_run), key=lambda t: (order[t.fault], t.engine))
    requests = sum(trial.sent for trial in ran)
    lines = [
        f"{len(ran)} trials, {requests:,} requests, {RATE_PER_S:g} a second, each with a budget of 2 s.",
        "",
        table(_HEADS, [_row(trial) for trial in ran]),
        "",
    ]
    if left_out:
        lines += ["Not run:", "", *(f"- {t.fault}, {t.engine}: {t.not_run}" for t in left_out), ""]
    broken = [f"{t.fault}, {t.engine}: {'; '.join(t.lost) or 'not well again'}" for t in ran if t.lost or _not_well(t)]
    lines.append("**Broken:** " + ". ".join(broken) if broken else "**Nothing was lost**, and all became well again.")
    return "\n".join(lines)


def _row(trial: Trial) -> list[str]:
    answers = ", ".join(f"{what}: {count}" for what, count in sorted(trial.answers.items()))
    if trial.rerouted:
        answers += f" (of the 200s {trial.rerouted} by another model than the one chosen first)"
    return [
        trial.fault,
        trial.engine,
        answers,
        f"{trial.worst_ms:,.0f}",
        trial.readiness,
        "; ".join(f"`{one}`" for one in trial.moved) or "none",
        "never" if _not_well(trial) else f"{trial.again_s:.1f}",
        f"{trial.sent}" if not trial.lost else "; ".join(trial.lost),
    ]


def _not_well(trial: Trial) -> bool:
    return trial.again_s is None
