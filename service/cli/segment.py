"""`vision segment`."""

from __future__ import annotations

from typing import Annotated

import typer

from service.cli.gateway import Where
from service.cli.options import (
    ApiKey,
    BudgetMs,
    Classes,
    Csv,
    Files,
    Json,
    MaxDetections,
    MinAccuracy,
    Model,
    Overlay,
    Parallel,
    Priority,
    ScoreThreshold,
    Server,
    Tier,
)
from service.cli.run import Output, ask_about
from service.client.options import Kind


def segment(
    files: Files,
    kind: Annotated[
        Kind | None,
        typer.Option(help="A class for every pixel, a mask for every thing, or both; left out: what the model gives."),
    ] = None,
    score_threshold: ScoreThreshold = None,
    max_detections: MaxDetections = None,
    classes: Classes = None,
    tier: Tier = None,
    budget_ms: BudgetMs = None,
    model: Model = None,
    min_accuracy: MinAccuracy = None,
    priority: Priority = None,
    json: Json = False,
    csv: Csv = False,
    overlay: Overlay = None,
    server: Server = None,
    api_key: ApiKey = None,
    parallel: Parallel = None,
) -> None:
    """The pixels of each picture: which class, or which thing."""
    options = {
        "kind": kind,
        "score_threshold": score_threshold,
        "max_detections": max_detections,
        "classes": classes,
        "tier": tier,
        "budget_ms": budget_ms,
        "model": model,
        "min_accuracy": min_accuracy,
        "priority": priority,
    }
    ask_about(files, "segment", options, Where(server, api_key), Output(json, csv, overlay), parallel)
