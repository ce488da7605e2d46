"""The commands of `vision`: one module a command, registered with one line here.

What a command needs of the server is imported when it runs: `--help`, completion and a client's commands are quick.
"""

from __future__ import annotations

import typer

from service import keys_command, plan_command
from service.cli.classify import classify
from service.cli.detect import detect
from service.cli.models import models
from service.cli.route import route
from service.cli.segment import segment
from service.cli.serve import serve
from service.verify_command import verify

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command()(serve)
app.command()(classify)
app.command()(detect)
app.command()(segment)
app.command()(route)
app.command()(models)
app.command()(plan_command.plan)
app.command()(verify)
app.add_typer(keys_command.app, name="keys")


@app.callback()
def vision() -> None:
    """Pictures in, labels out, within a latency budget.

    Commands ask the gateway at --server (or VISION_SERVER); without one they run the model repository's models in this
    process, as the VISION_… variables of docs/settings.md say.

    Exit codes: 0 all answered, 1 some pictures failed, 2 wrong usage, 3 no gateway to ask, 4 not allowed,
    130 interrupted.
    """
