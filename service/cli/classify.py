"""`vision classify`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from service.cli.gateway import Where
from service.cli.options import (
    ApiKey,
    BudgetMs,
    Csv,
    Files,
    Json,
    MinAccuracy,
    Model,
    Overlay,
    Parallel,
    Priority,
    Server,
    Tier,
)
from service.cli.run import Output, ask_about


def classify(
    files: Files,
    top_k: Annotated[int | None, typer.Option("--top-k", "-k", min=1, help="How many classes: 5.")] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Re-scales probabilities: above 1 flatter, below sharper.")
    ] = None,
    strategy: Annotated[
        Literal["single", "cascade"] | None,
        typer.Option(help="cascade: the cheapest model first, the better one only if that is unsure."),
    ] = None,
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
    """The most likely classes of each picture."""
    options = {
        "top_k": top_k,
        "temperature": temperature,
        "strategy": strategy,
        "tier": tier,
        "budget_ms": budget_ms,
        "model": model,
        "min_accuracy": min_accuracy,
        "priority": priority,
    }
    ask_about(files, "classify", options, Where(server, api_key), Output(json, csv, overlay), parallel)
