"""Many rows, one after another. The failure of one stops none of the others."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from export.catalogue.row import HubWeights, Row
from export.device_config import device_of, settle
from export.errors import ExportError, SourceUnreachable
from export.fp16.attempt import attempt_fp16
from export.fp16.identity import fp16_name
from export.hub import require_or_cached
from export.outcome import Outcome, Plan, State
from export.quantisation.attempt import attempt_int8, withdraw_stranger
from export.quantisation.identity import int8_name
from export.repository import sweep, up_to_date
from export.sources import Source, sources_of
from export.steps import STEPS, Say, Step
from export.tensorrt.attempt import attempt_plan, attempt_revert, no_plans
from export.tensorrt.builder import PlanBuilder, TensorRtUnavailable
from export.tensorrt.nvidia import find_builder
from service.manifest import Device, ModelCard


def run(
    required: tuple[Row, ...],
    optional: tuple[Row, ...],
    plan: Plan,
    console: Console,
    find_builder: Callable[[], PlanBuilder] = find_builder,
) -> list[Outcome]:
    """One outcome per entry, in order: each row's, those of its variants, those of their plans, as wanted.

    An optional row whose weights cannot be reached is `skipped`, not `failed`; so is a plan where there is no TensorRT.
    find_builder    what builds plans; raises TensorRtUnavailable
    """
    builder = _builder(find_builder) if plan.tensorrt else None
    sweep(plan.repository)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        shown = _Shown(progress, console)
        for row in (*required, *optional):
            entries = _entries(row, plan, row in optional, shown)
            for name in entries:
                if plan.tensorrt is False:
                    shown.outcome(f"{name} plan", partial(attempt_revert, row, name, plan))
                elif builder is not None and not isinstance(builder, TensorRtUnavailable):
                    shown.outcome(f"{name} plan", partial(attempt_plan, row, name, plan, builder))
        if isinstance(builder, TensorRtUnavailable):
            shown.outcome("every plan", partial(no_plans, plan, builder))
    return shown.outcomes


class _Shown:
    """What a person sees of a run: a bar for what is being made, a line for what became of it."""

    def __init__(self, progress: Progress, console: Console) -> None:
        self._progress = progress
        self._console = console
        self.outcomes: list[Outcome] = []

    def outcome(self, name: str, attempt: Callable[[Say], Outcome]) -> Outcome:
        task = self._progress.add_task(name, total=len(STEPS))

        def say(step: Step) -> None:
            self._progress.update(task, completed=STEPS.index(step), description=f"{name}: {step}")

        outcome = attempt(say)
        self._progress.remove_task(task)
        self.sentence(str(outcome))
        self.outcomes.append(outcome)
        return outcome

    def sentence(self, text: str) -> None:
        if text:
            self._console.print(text, soft_wrap=True, highlight=False, markup=False)


def _entries(row: Row, plan: Plan, is_optional: bool, shown: _Shown) -> list[str]:
    """Names of the row's entries that are now as the plan wants them: its own, then its variants'."""
    before = device_of(plan.repository / row.name)
    fp32 = shown.outcome(row.name, partial(_one, row, plan, is_optional)).card
    if fp32 is None:
        return []
    # Before the variants, which take after it.
    _settle(row.name, plan, plan.device or before, shown)
    entries = [row.name]
    for name, makes, attempt in _variants(row, plan):
        shown.sentence(withdraw_stranger(fp32, plan.repository, name))
        if makes and shown.outcome(name, partial(attempt, row, fp32, plan)).card is not None:
            _settle(name, plan, plan.device, shown)
            entries.append(name)
    return entries


def _builder(find: Callable[[], PlanBuilder]) -> PlanBuilder | TensorRtUnavailable:
    try:
        return find()
    except TensorRtUnavailable as err:
        return err


Attempt = Callable[[Row, ModelCard, Plan, Say], Outcome]


def _variants(row: Row, plan: Plan) -> Iterator[tuple[str, bool, Attempt]]:
    """Name of each variant that the row may have, whether it is to be made, and by what."""
    yield int8_name(row.name), row.name in plan.int8 | plan.int8_offered, attempt_int8
    yield fp16_name(row.name), row.name in plan.fp16, attempt_fp16


def _settle(name: str, plan: Plan, device: Device | None, shown: _Shown) -> None:
    """Brings the entry's config.pbtxt up to date, and says so where it was not; nothing else of it changes."""
    entry = plan.repository / name
    try:
        if settle(entry, device):
            shown.sentence(f"{name}: config.pbtxt rewritten for {device_of(entry)}.")
    except ExportError as err:
        command = shlex.join(
            ["vision-export", name, "--device", device or "auto", "--repository", str(plan.repository)]
        )
        failed = Outcome(f"{name} config.pbtxt", "failed", 0.0, str(err), command)
        shown.outcome(failed.name, lambda say: failed)


def _one(row: Row, plan: Plan, is_optional: bool, say: Say) -> Outcome:
    start_s = time.monotonic()

    def outcome(state: State, reason: str = "", card: ModelCard | None = None) -> Outcome:
        return Outcome(row.name, state, time.monotonic() - start_s, reason, _command(row, plan), card)

    try:
        sources = sources_of(row, plan.weights)
        card = None if plan.force else up_to_date(plan.repository, row, sources)
        if card is not None:
            return outcome("up to date", card=card)
        return outcome("exported", card=_export(row, sources, plan.repository, say))
    except SourceUnreachable as err:
        return outcome("skipped" if is_optional else "failed", str(err))
    except ExportError as err:
        return outcome("failed", str(err))
    except Exception as err:  # whatever a library raised: the other rows must still get their turn
        return outcome("failed", f"{type(err).__name__}: {err}")


def _export(row: Row, sources: tuple[Source, ...], repository: Path, say: Say) -> ModelCard:
    hub_sources = [source for source in sources if isinstance(source, HubWeights)]
    if len(hub_sources) == len(sources):
        require_or_cached(row.network, hub_sources[0])
    # torch and its friends take seconds to import: only when something is really exported.
    from export.export_row import export_row

    return export_row(row, sources, repository, say)


def _command(row: Row, plan: Plan) -> str:
    words = ["vision-export", row.name, "--repository", str(plan.repository)]
    if plan.weights.kind != "first":
        words += ["--weights", plan.weights.argument]
    return shlex.join([*words, "--force"] if plan.force else words)
