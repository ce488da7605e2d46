"""One row of `vision-export --all`, in a process of its own: `python -m export.run_one`. Not meant to be typed.

Its memory is bounded by the process itself, its time by the parent, and by itself should the parent be killed; what
became of it goes into a file.
"""

from __future__ import annotations

import json
import math
import resource
import signal
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console

from export.batch import run
from export.catalogue.registry import find
from export.catalogue.row import Row
from export.errors import ExportError
from export.outcome import Outcome, Plan
from export.run_table import error_of
from export.sources import parse_choice, sources_of


@dataclass(frozen=True, slots=True)
class Order:
    """What the child is told.

    prove_only      the row goes through its gates and leaves no entry
    most_seconds    until the process ends itself; infinity for no bound
    most_bytes      of private memory, 0 for no bound
    report          the file where the result goes
    """

    name: str
    repository: str
    weights: str
    force: bool
    prove_only: bool
    most_seconds: float
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
        "error": error_of(card.verification),
    }


def proved(row: Row, order: Order) -> dict[str, object]:
    """The same for a row that is only proved."""
    # torch and its friends take seconds to import: only in the child, and only when it proves.
    from export.prove import prove

    try:
        proof = prove(row, sources_of(row, parse_choice(order.weights)))
    except ExportError as err:
        return {"state": "failed", "reason": str(err)}
    except Exception as err:  # whatever a library raised
        return {"state": "failed", "reason": f"{type(err).__name__}: {' '.join(str(err).split())[:300]}"}
    return {"state": "passed", "reason": ""} | asdict(proof)


def main() -> None:
    order = Order(**json.loads(sys.argv[1]))
    if math.isfinite(order.most_seconds):
        # Later than the parent, which began to count before this process was there. Nobody handles it: it ends us.
        signal.setitimer(signal.ITIMER_REAL, order.most_seconds)
    if order.most_bytes:
        # A row that wants more gets a MemoryError and fails; without it the machine would choose what to kill.
        resource.setrlimit(resource.RLIMIT_DATA, (order.most_bytes, order.most_bytes))
    row = find(order.name)
    if order.prove_only:
        result = proved(row, order)
    else:
        plan = Plan(Path(order.repository), parse_choice(order.weights), order.force)
        (outcome,) = run((row,), (), plan, Console(quiet=True))
        result = measured(outcome)
    Path(order.report).write_text(json.dumps(result), encoding="utf-8")


def command(order: Order) -> list[str]:
    """What the parent runs."""
    return [sys.executable, "-m", "export.run_one", json.dumps(asdict(order))]


if __name__ == "__main__":
    main()
