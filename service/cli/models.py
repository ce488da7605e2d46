"""`vision models`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from service.cli.gateway import Where, failed, ready_gateway, run
from service.cli.options import ApiKey, Json, Server
from service.cli.reports import json_line, table_console
from service.client import ClientError, ModelInfo
from service.client.options import Task


def models(
    task: Annotated[Task | None, typer.Option(help="Only those of this task.")] = None,
    json: Json = False,
    server: Server = None,
    api_key: ApiKey = None,
) -> None:
    """What there is to choose from, the most accurate of each task first."""
    found = run(_models(Where(server, api_key)))
    wanted = sorted((model for model in found if task in (None, model.task)), key=_order)
    if json:
        for model in wanted:
            typer.echo(json_line(model.document))
    else:
        table_console().print(_table(wanted))


async def _models(where: Where) -> tuple[ModelInfo, ...]:
    async with ready_gateway(where) as client:
        try:
            return await client.models()
        except ClientError as err:
            raise failed(err) from err


def _order(model: ModelInfo) -> tuple[str, str, float, float]:
    accuracy = model.accuracy.value if model.accuracy else -1.0
    return model.task, model.segment_kind or "", -accuracy, model.predicted_ms or 0.0


def _table(models: list[ModelInfo]) -> Table:
    """One line a model; without accuracy where the weights are random, without ms where nobody measured."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("model", no_wrap=True)
    table.add_column("task", no_wrap=True)
    table.add_column("accuracy, %", justify="right", no_wrap=True)
    table.add_column("ms now", justify="right", no_wrap=True)
    table.add_column("precision")
    table.add_column("weights")
    table.add_column("pixels", justify="right", no_wrap=True)
    table.add_column("M params", justify="right", no_wrap=True)
    for model in models:
        table.add_row(
            model.name,
            f"{model.task} ({model.segment_kind})" if model.segment_kind else model.task,
            f"{model.accuracy.value:.1f} {model.accuracy.metric}" if model.accuracy else "–",
            f"{model.predicted_ms:.1f}" if model.predicted_ms is not None else "–",
            model.precision,
            model.weights,
            "×".join(map(str, model.input_hw)),
            f"{model.params / 1e6:.2f}",
        )
    return table
