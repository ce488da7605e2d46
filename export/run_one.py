"""One row of `vision-export --all`, in a process of its own: `python -m export.run_one`. Not meant to be typed.

Its memory is bounded by the process itself, its time by the parent; what became of it goes into a file.
"""

from __future__ import annotations

import json
import resource
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console

from export.batch import run
from export.catalogue.registry import find
from export.outcome import Outcome, Plan
from export.sources import parse_choice


@dataclass(frozen=True, slots=True)
class Order:
    """What the child is told. `most_bytes`: of private memory, 0 for no bound; `report`: where the result goes."""

    name: str
    repository: str
    weights: str
    force: bool
    most_bytes: int
    report: str


def measured(outcome: Outcome) -> dict[str, object]:
    """The part of a Run that only the child knows."""
    card = outcome.card
    state = "failed" if outcome.state in ("failed", "skipped") else "passed"
    if card is None:
        return {"state": state, "reason": outcome.reason}
    profile = card.profile
    return {
        "state": state,
        "reason": outcome.reason,
        "weights": card.weights.source,
        "params": card.params,
        "flops": card.flops,
        "onnx_bytes": card.onnx_bytes,
        "gates": len(card.verification),
        "p50_ms": dict(profile.p50_ms_by_batch).get(1) if profile else None,
        "device": profile.device if profile else "",
    }


def main() -> None:
    order = Order(**json.loads(sys.argv[1]))
    if order.most_bytes:
        # A row that wants more gets a MemoryError and fails; without it the machine would choose what to kill.
        resource.setrlimit(resource.RLIMIT_DATA, (order.most_bytes, order.most_bytes))
    plan = Plan(Path(order.repository), parse_choice(order.weights), order.force)
    (outcome,) = run((find(order.name),), (), plan, Console(quiet=True))
    Path(order.report).write_text(json.dumps(measured(outcome)), encoding="utf-8")


def command(order: Order) -> list[str]:
    """What the parent runs."""
    return [sys.executable, "-m", "export.run_one", json.dumps(asdict(order))]


if __name__ == "__main__":
    main()
