"""Many rows, one after another. The failure of one stops none of the others."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from export.catalogue.row import HubWeights, Row
from export.errors import ExportError, SourceUnreachable
from export.hub import require_or_cached
from export.outcome import Outcome, Plan, State
from export.quantisation.attempt import attempt_int8, withdraw_stranger
from export.quantisation.identity import int8_name
from export.repository import sweep, up_to_date
from export.sources import Source, sources_of
from export.steps import STEPS, Say, Step
from service.manifest import ModelCard


def run(required: tuple[Row, ...], optional: tuple[Row, ...], plan: Plan, console: Console) -> list[Outcome]:
    """One outcome per entry, in order: each row's, then that of its INT8 variant if the plan wants one.

    An optional row whose weights cannot be reached is `skipped`, not `failed`.
    """
    sweep(plan.repository)
    outcomes: list[Outcome] = []
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:

        def shown(name: str, attempt: Callable[[Say], Outcome]) -> Outcome:
            task = progress.add_task(name, total=len(STEPS))

            def say(step: Step) -> None:
                progress.update(task, completed=STEPS.index(step), description=f"{name}: {step}")

            outcome = attempt(say)
            progress.remove_task(task)
            console.print(str(outcome), soft_wrap=True, highlight=False, markup=False)
            outcomes.append(outcome)
            return outcome

        for row in (*required, *optional):
            fp32 = shown(row.name, partial(_one, row, plan, row in optional)).card
            if fp32 is None:
                continue
            said = withdraw_stranger(fp32, plan.repository)
            if said:
                console.print(said, soft_wrap=True, highlight=False, markup=False)
            if row.name in plan.int8 | plan.int8_offered:
                shown(int8_name(row.name), partial(attempt_int8, row, fp32, plan))
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
    from export.export_row import export_row

    return export_row(row, sources, repository, say)


def _command(row: Row, plan: Plan) -> str:
    words = ["vision-export", row.name, "--repository", str(plan.repository)]
    if plan.weights.kind != "first":
        words += ["--weights", plan.weights.argument]
    return shlex.join([*words, "--force"] if plan.force else words)
