"""`vision route`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from service.cli.exit_codes import ExitCode
from service.cli.gateway import Where, failed, ready_gateway, run
from service.cli.options import ApiKey, BudgetMs, Json, MinAccuracy, Model, Priority, Server
from service.cli.reports import json_line, table_console
from service.client import ClientError, Route
from service.client.options import Kind, Task, Tier

_WHY = {
    "most-accurate": "the most accurate there is would answer in time",
    "within-budget": "a more accurate one exists, but would not surely be in time",
    "cheaper-equal": "practically as accurate as the best feasible one, and cheaper",
    "held": "a better one has only just become feasible",
    "circuit-open": "a better one fails time after time, and is left out for a while",
    "degraded": "none is surely in time: the fastest",
    "pinned": "you named it",
}


def route(
    file: Annotated[Path | None, typer.Argument(exists=True, dir_okay=False, help="A picture, for its size.")] = None,
    task: Annotated[Task, typer.Option(help="What the model should do.")] = "classify",
    kind: Annotated[Kind | None, typer.Option(help="With --task segment.")] = None,
    tier: Annotated[Tier | None, typer.Option(help="A budget by name; the gateway's `standard` if left out.")] = None,
    budget_ms: BudgetMs = None,
    model: Model = None,
    min_accuracy: MinAccuracy = None,
    priority: Priority = None,
    json: Json = False,
    server: Server = None,
    api_key: ApiKey = None,
) -> None:
    """Which model would answer now, and why not the others; nothing is run.

    Exit codes: 0 a model would answer, 1 the request would be refused, and as of all commands.
    """
    options = {
        "task": task,
        "kind": kind,
        "tier": tier,
        "budget_ms": budget_ms,
        "model": model,
        "min_accuracy": min_accuracy,
        "priority": priority,
    }
    found = run(_route(Where(server, api_key), file, options))
    if json:
        typer.echo(json_line(found.document))
    else:
        typer.echo(_sentence(found))
        table_console().print(_table(found))
    if found.refused is not None:
        raise typer.Exit(ExitCode.SOME_FAILED)


async def _route(where: Where, file: Path | None, options: dict[str, Any]) -> Route:
    async with ready_gateway(where) as client:
        try:
            return await client.route(file, **options)
        except ClientError as err:
            raise failed(err) from err


def _sentence(found: Route) -> str:
    if found.routing is None:
        return f"Refused: {found.refused}."
    routing = found.routing
    budget = "no budget" if routing.tier == "none" else f"{routing.budget_ms:g} ms ({routing.tier})"
    why = _WHY.get(routing.reason, routing.reason)
    return f"{found.model}: {why}. Predicted {routing.predicted_ms:.1f} ms; {budget}."


def _table(found: Route) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    table.add_column("model", no_wrap=True)
    for heading in ("accuracy, %", "typical ms", "predicted ms"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("why not")
    for one in found.candidates:
        accuracy = "–" if one.accuracy is None else f"{one.accuracy:.1f}"
        times = f"{one.typical_ms:.1f}", f"{one.predicted_ms:.1f}"
        table.add_row("→" if one.chosen else "", one.model, accuracy, *times, one.why_not or "")
    return table
