"""`vision keys`: makes keys. Who has one is decided by the keys file alone."""

from __future__ import annotations

from typing import Annotated

import typer
from pydantic import ValidationError

from service.keys import Key, key_sha256, new_key

app = typer.Typer(no_args_is_help=True, help="API keys: `vision keys new NAME >> keys.jsonl`")


@app.callback()
def keys() -> None:
    """API keys. The file that VISION_API_KEYS_FILE names has a line for each."""


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Whose key it is; letters, digits, dots and dashes.")],
    rps: Annotated[float | None, typer.Option(help="Requests a second; none: no limit.")] = None,
    burst: Annotated[int | None, typer.Option(help="Requests at once; none: as many as in a second.")] = None,
    max_tier: Annotated[str | None, typer.Option(help="The tier with the longest budget it may ask for.")] = None,
    max_budget_ms: Annotated[float | None, typer.Option(help="The longest budget it may ask for.")] = None,
    task: Annotated[list[str] | None, typer.Option(help="What it may ask for; none: everything.")] = None,
) -> None:
    """Print a new key, once and to the terminal, and the line for the keys file, to standard output."""
    key = new_key()
    given = {
        "name": name,
        "sha256": key_sha256(key),
        "rate_per_s": rps,
        "burst": burst,
        "max_tier": max_tier,
        "max_budget_ms": max_budget_ms,
        "tasks": task or None,
    }
    try:
        line = Key.model_validate(given)
    except ValidationError as err:
        first = err.errors()[0]
        typer.echo(f"{'.'.join(map(str, first['loc']))}: {first['msg']}", err=True)
        raise typer.Exit(2) from None
    if burst is not None and rps is None:
        typer.echo("--burst goes with --rps", err=True)
        raise typer.Exit(2)
    typer.echo(f"{key}\n\nThe key of {name}. It is shown this once: only its hash is kept.", err=True)
    typer.echo(line.model_dump_json(exclude_none=True))
