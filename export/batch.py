"""Many rows, one after another. The failure of one stops none of the others."""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from export.catalogue.row import HubWeights, Row
from export.errors import ExportError, SourceUnreachable
from export.hub import require_or_cached
from export.repository import sweep, up_to_date
from export.sources import Choice, Source, sources_of
from export.steps import STEPS, Say, Step
from service.manifest import ModelCard

State = Literal["exported", "up to date", "skipped", "failed"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What holds for every row of a run."""

    repository: Path
    weights: Choice
    force: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one row. `card` is there if the entry is; `command` repeats this one export."""

    name: str
    state: State
    seconds: float
    reason: str
    command: str
    card: ModelCard | None = None

    def __str__(self) -> str:
        return f"{self.name}: {self.state}" + (f": {self.reason}" if self.reason else f" ({self.seconds:.1f} s)")


def run(required: tuple[Row, ...], optional: tuple[Row, ...], plan: Plan, console: Console) -> list[Outcome]:
    """One outcome per row, in order. An optional row whose weights cannot be reached is `skipped`, not `failed`."""
    sweep(plan.repository)
    outcomes: list[Outcome] = []
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        for row in (*required, *optional):
            task = progress.add_task(row.name, total=len(STEPS))

            def say(step: Step, name: str = row.name, task: int = task) -> None:
                progress.update(task, completed=STEPS.index(step), description=f"{name}: {step}")  # type: ignore[arg-type]

            outcome = _one(row, plan, row in optional, say)
            progress.remove_task(task)
            console.print(str(outcome), soft_wrap=True, highlight=False, markup=False)
            outcomes.append(outcome)
    return outcomes


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
    if row.network.library == "starter":
        from export.export_starter import export_starter

        return export_starter(row, sources, repository, say)
    from export.export_row import export_row

    return export_row(row, sources, repository, say)


def _command(row: Row, plan: Plan) -> str:
    words = ["vision-export", row.name, "--repository", str(plan.repository)]
    if plan.weights.kind != "first":
        words += ["--weights", plan.weights.argument]
    return shlex.join([*words, "--force"] if plan.force else words)
