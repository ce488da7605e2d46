"""`vision-export --all`: every row of the catalogue through the gates."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from export.catalogue.registry import CATALOGUE
from export.catalogue.twins import TWINS
from export.command_line import MANNERS, Names
from export.run_all import AllPlan, Bounds, run_all
from export.run_order import Together
from export.run_table import summary
from export.sources import parse_choice
from export.tables import runs_table

app = typer.Typer(**MANNERS)


@app.command()
def export_all(
    names: Names = None,
    everything: Annotated[bool, typer.Option("--all", help="Every row of the catalogue.")] = True,
    repository: Annotated[Path, typer.Option(help="Model repository to write to.")] = Path("model_repository"),
    weights: Annotated[str, typer.Option(metavar="hub|package|random", help="Where the weights come from.")] = "first",
    runs: Annotated[Path, typer.Option(help="The table, as JSON; the .md beside it is for people.")] = Path(
        "catalogue-run.json"
    ),
    minutes: Annotated[float, typer.Option(help="Most time for one row.")] = 20,
    memory_gb: Annotated[
        float,
        typer.Option("--memory-gb", help="Most memory for one row, and expected of all at the same time; 0: no bound."),
    ] = 16,
    stop_after: Annotated[float, typer.Option(help="Begin no row after so many minutes; 0: run to the end.")] = 0,
    jobs: Annotated[int, typer.Option(min=1, help="Rows at the same time, as far as the memory goes.")] = 1,
    discard: Annotated[bool, typer.Option("--discard", help="Leave no entries: only prove.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Run even what has passed.")] = False,
) -> None:
    """Export every row, each in a process of its own. Stopped, the same command goes on where it was.

    Exit codes: 0 all passed, 1 some failed or were not run, 2 wrong usage, 130 interrupted, 143 terminated,
    129 the terminal was closed.
    """
    try:
        choice = parse_choice(weights)
    except ValueError as err:
        raise typer.BadParameter(f"{err}.", param_hint="--weights") from err
    console = Console()
    unknown = [name for name in names or [] if name not in CATALOGUE]
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}: not in the catalogue.", param_hint="NAME")
    rows = tuple(row for row in CATALOGUE.values() if not names or row.name in names)
    bounds = Bounds(minutes * 60, int(memory_gb * 1e9), stop_after * 60 if stop_after else float("inf"))
    began_s = time.monotonic()
    together = Together()
    plan = AllPlan(repository, choice, force, discard, runs, bounds, bool(names), jobs)
    done = run_all(rows, plan, console, together)
    console.print(runs_table(done.values()))
    took_min = (time.monotonic() - began_s) / 60
    this_run = (
        f"This run: {took_min:.0f} minutes, {jobs} at a time, {together.most_bytes / 1e9:.1f} GB together at most."
    )
    console.print(f"{summary(rows, done)} {this_run}", highlight=False)
    wanted = [row.name for row in rows if names or row.name not in TWINS]
    if any(name not in done or done[name].state == "failed" for name in wanted):
        raise typer.Exit(1)
