"""One entry's plan as a run sees it: up to date, built and swapped in, or refused in one sentence."""

from __future__ import annotations

import shlex
import tempfile
import time
from pathlib import Path

from export.catalogue.row import Row
from export.errors import ExportError
from export.outcome import Outcome, Plan, State
from export.steps import Say
from export.tensorrt.builder import PlanBuilder, TensorRtUnavailable
from export.tensorrt.cache import ForeignPlan, PlanCache
from export.tensorrt.swap import revert
from service.entry_config import read_entry
from service.entry_files import file_sha256, plan_path
from service.manifest import ModelCard


def no_plans(plan: Plan, err: TensorRtUnavailable, say: Say) -> Outcome:
    """`skipped`, in one sentence for all entries: their ONNX files go on answering."""
    command = shlex.join(["vision-export", "--tensorrt", "--repository", str(plan.repository)])
    return Outcome("every plan", "skipped", 0.0, f"{err} ONNX Runtime goes on answering.", command)


def attempt_plan(row: Row, name: str, plan: Plan, builder: PlanBuilder, say: Say) -> Outcome:
    """What became of the entry's plan.

    name    of an entry of the plan's repository: the row's own, or a variant of it
    """
    start_s = time.monotonic()

    def outcome(state: State, reason: str = "", card: ModelCard | None = None) -> Outcome:
        command = shlex.join(_command(row, name, plan))
        return Outcome(f"{name} plan", state, time.monotonic() - start_s, reason, command, card)

    try:
        from export.tensorrt.make import Made, make_plan, wanted_key

        entry, cache = plan.repository / name, PlanCache(plan.engines)
        with tempfile.TemporaryDirectory() as folder:
            if read_entry(entry).precision == "int8" and row.task != "classify":
                return outcome("not published", "heads in INT8 are for CPUs; on a GPU the FP32 entry has the plan")
            made = Made(row, entry, Path(folder), builder, cache)
            key = wanted_key(made)
            card = read_entry(entry)
            if not plan.force:
                refuse_foreign(entry, card, cache)
                if card.plan is not None and card.plan.key == key.digest:
                    return outcome("up to date", card=card)
            return outcome("exported", card=make_plan(made, key, say))
    except ExportError as err:
        return outcome("failed", str(err))
    except Exception as err:  # whatever a library raised: the other entries must still get their turn
        return outcome("failed", f"{type(err).__name__}: {err}")


def attempt_revert(row: Row, name: str, plan: Plan, say: Say) -> Outcome:
    """ONNX Runtime answers for the entry, as before any plan."""
    start_s = time.monotonic()
    say("publish")
    entry = plan.repository / name
    try:
        state: State = "exported" if revert(entry) else "up to date"
        reason = "ONNX Runtime answers again" if state == "exported" else ""
        return Outcome(f"{name} plan", state, time.monotonic() - start_s, reason, "", read_entry(entry))
    except ExportError as err:
        return Outcome(f"{name} plan", "failed", time.monotonic() - start_s, str(err), "")


def refuse_foreign(entry: Path, card: ModelCard, cache: PlanCache) -> None:
    """Raises ForeignPlan if the entry serves a plan that was not built here, or not that one. A plan is code."""
    if card.plan is None:
        return
    path = plan_path(entry, card)
    sha256 = file_sha256(path) if path.is_file() else "none: there is no such file"
    if sha256 == card.plan.sha256 and cache.vouches(card.plan.key, sha256):
        return
    raise ForeignPlan(
        f"{path.relative_to(entry.parent)} was not built by this host's cache (sha256 {sha256}): "
        "--no-tensorrt goes back to ONNX Runtime, --force builds its own."
    )


def _command(row: Row, name: str, plan: Plan) -> list[str]:
    words = ["vision-export", row.name, "--tensorrt", "--repository", str(plan.repository)]
    for precision in ("int8", "fp16"):
        if name == f"{row.name}_{precision}":
            words += ["--precision", precision]
    return [*words, "--force"] if plan.force else words
