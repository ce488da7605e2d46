"""One FP16 variant as a run sees it: up to date, made, or refused in one sentence."""

from __future__ import annotations

import shlex
import time

from export.catalogue.row import Row
from export.errors import ExportError
from export.fp16.identity import fp16_name, fp16_recipe
from export.outcome import Outcome, Plan, State
from export.quantisation.attempt import require_own_place
from export.repository import entry_made_by
from export.steps import Say
from service.manifest import ModelCard


def attempt_fp16(row: Row, fp32: ModelCard, plan: Plan, say: Say) -> Outcome:
    """What became of the row's FP16 variant. `fp32`: the card of the row's entry in the plan's repository."""
    start_s = time.monotonic()
    name = fp16_name(row.name)

    def outcome(state: State, reason: str = "", card: ModelCard | None = None) -> Outcome:
        return Outcome(name, state, time.monotonic() - start_s, reason, _command(row, plan), card)

    try:
        require_own_place(fp32, plan.repository, name)
        card = None if plan.force else entry_made_by(plan.repository, name, {fp16_recipe(fp32)})
        if card is not None:
            return outcome("up to date", card=card)
        # torch, timm and ONNX Runtime take seconds to import: only when something is really made.
        from export.fp16.variant import export_fp16

        return outcome("exported", card=export_fp16(row, plan.repository, say))
    except ExportError as err:
        return outcome("failed", str(err))
    except Exception as err:  # whatever a library raised: the other rows must still get their turn
        return outcome("failed", f"{type(err).__name__}: {err}")


def _command(row: Row, plan: Plan) -> str:
    words = ["vision-export", row.name, "--precision", "fp16", "--repository", str(plan.repository)]
    if plan.weights.kind != "first":
        words += ["--weights", plan.weights.argument]
    return shlex.join([*words, "--force"] if plan.force else words)
