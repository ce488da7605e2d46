"""The options that commands share, as types."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.cli.completion import complete_model
from service.client.options import Tier as TierName

_ASK, _OUT, _WHERE = "Speed and accuracy", "Output", "Gateway"

Files = Annotated[
    list[str],
    typer.Argument(metavar="FILES", help="Pictures, folders (searched to the bottom), or globs in quotes."),
]

Tier = Annotated[
    TierName | None,
    typer.Option(help="A budget by name; `batch` if neither tier, budget nor model is given.", rich_help_panel=_ASK),
]
BudgetMs = Annotated[
    float | None,
    typer.Option("--budget-ms", metavar="MS", help="Answer each picture within this time.", rich_help_panel=_ASK),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME",
        help="Use this model, or any variant of it.",
        autocompletion=complete_model,
        rich_help_panel=_ASK,
    ),
]
MinAccuracy = Annotated[
    float | None,
    typer.Option("--min-accuracy", metavar="PERCENT", help="Never a model below it.", rich_help_panel=_ASK),
]
Priority = Annotated[
    int | None, typer.Option(min=1, max=3, help="1 is served first, 3 is shed first.", rich_help_panel=_ASK)
]

Json = Annotated[bool, typer.Option("--json", help="One JSON document a line.", rich_help_panel=_OUT)]
Csv = Annotated[bool, typer.Option("--csv", help="One row for each label or thing.", rich_help_panel=_OUT)]
Overlay = Annotated[
    Path | None,
    typer.Option(
        "--overlay",
        metavar="DIR",
        file_okay=False,
        help="Also write each picture there, the result drawn on it.",
        rich_help_panel=_OUT,
    ),
]

ScoreThreshold = Annotated[
    float | None, typer.Option("--score-threshold", min=0, max=1, help="Leave out things less sure than this: 0.4.")
]
MaxDetections = Annotated[
    int | None, typer.Option("--max-detections", min=1, max=1000, help="At most so many things, the surest: 100.")
]
Classes = Annotated[
    str | None, typer.Option("--classes", metavar="A,B", help="Only these classes, as names with commas.")
]

Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="URL",
        envvar="VISION_SERVER",
        help="The gateway to ask; without one the models run in this process.",
        rich_help_panel=_WHERE,
    ),
]
ApiKey = Annotated[
    str | None,
    typer.Option(
        "--api-key", metavar="KEY", envvar="VISION_API_KEY", help="The gateway's key.", rich_help_panel=_WHERE
    ),
]
Parallel = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=64,
        help="Pictures on the way at once; left out: 2 a core in this process, 8 to a server.",
        rich_help_panel=_WHERE,
    ),
]
