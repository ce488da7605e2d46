"""`vision-eval`: what a running gateway is worth on a labelled data set, through HTTP, by the field's own tools."""

from __future__ import annotations

import json
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from evaluation.client import Gateway, Refused
from evaluation.samples import DatasetError, Part, parse_part
from evaluation.tasks import Report, classify, find_things, map_scenes

NO_PYCOCOTOOLS = (
    "boxes and masks are scored by pycocotools, which is not installed: "
    "python -m pip install -c constraints.txt -e '.[eval]', in the clone"
)

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_show_locals=False)


class Task(StrEnum):
    classify = "classify"
    detect = "detect"
    segment = "segment"


class Kind(StrEnum):
    semantic = "semantic"
    instance = "instance"


@app.command()
def evaluate(
    task: Annotated[Task, typer.Argument(help="What to ask for.")],
    dataset: Annotated[Path, typer.Argument(help="Folder of the data set.", exists=True, file_okay=False)],
    url: Annotated[str, typer.Option(help="The gateway.")] = "http://127.0.0.1:8080",
    model: Annotated[str | None, typer.Option(help="This model; left out: the router chooses.")] = None,
    tier: Annotated[str | None, typer.Option(help="This tier; left out: without a budget, or the longest.")] = None,
    kind: Annotated[Kind, typer.Option(help="Of segments.")] = Kind.semantic,
    annotations: Annotated[str, typer.Option(help="COCO's file in the data set's folder.")] = "annotations.json",
    part: Annotated[str, typer.Option(help="5/5: every 5th picture by file name, from the 5th on.")] = "1/1",
    parallel: Annotated[int, typer.Option(min=1, max=64, help="Pictures on the way at once.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")] = False,
) -> None:
    """Ask the gateway for every picture of DATASET and compare its answers with the labels. Scores are percent."""
    console = Console(stderr=as_json)
    query = {name: value for name, value in (("model", model), ("tier", tier)) if value is not None}
    gateway = Gateway(url.rstrip("/"), query or {"tier": "batch"}, parallel)
    try:
        report = _run(task, kind, gateway, dataset, annotations, _part(part), console)
    except (DatasetError, Refused) as err:
        console.print(str(err), style="red", soft_wrap=True, markup=False)
        raise typer.Exit(1) from None
    said = _document(report)
    if as_json:
        typer.echo(json.dumps(said))
        return
    models = ", ".join(f"{name} ({count})" for name, count in report.run.models.most_common())
    console.print(f"{report.pictures} pictures, {models}", highlight=False, soft_wrap=True)
    console.print(_table(report))
    console.print(f"in the gateway: p50 {said['p50_ms']} ms, p95 {said['p95_ms']} ms", highlight=False)


def _run(
    task: Task, kind: Kind, gateway: Gateway, dataset: Path, annotations: str, part: Part, console: Console
) -> Report:
    if task is Task.classify:
        return classify(gateway, dataset, part, console)
    if task is Task.segment and kind is Kind.semantic:
        return map_scenes(gateway, dataset, part, console)
    if find_spec("pycocotools") is None:  # before the gateway is asked for every picture
        console.print(NO_PYCOCOTOOLS, style="red", soft_wrap=True, markup=False)
        raise typer.Exit(2)
    return find_things(gateway, dataset, annotations, part, "detect" if task is Task.detect else "segment", console)


def _part(text: str) -> Part:
    try:
        return parse_part(text)
    except ValueError as err:
        raise typer.BadParameter(str(err), param_hint="--part") from err


def _document(report: Report) -> dict[str, object]:
    p50_ms, p95_ms = (round(float(np.percentile(report.run.total_ms, q)), 1) for q in (50, 95))
    scores = {name: round(value, 2) for name, value in report.scores.items()}
    models = dict(report.run.models)
    return {"pictures": report.pictures, "scores": scores, "models": models, "p50_ms": p50_ms, "p95_ms": p95_ms}


def _table(report: Report) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("score")
    table.add_column("%", justify="right")
    for name, value in report.scores.items():
        table.add_row(name, f"{value:.2f}")
    return table


def main() -> None:
    app(prog_name="vision-eval")


if __name__ == "__main__":
    main()
