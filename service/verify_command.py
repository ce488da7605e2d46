"""`vision verify`: is a repository what its cards say, before anything serves it?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.errors import InvalidEntry
from service.integrity import check_entry, named_entries


def verify(
    repository: Annotated[Path, typer.Argument(help="Model repository.")] = Path("model_repository"),
) -> None:
    """Compare every entry's files with the digests on its card. Exit code 1 if one is not what its card says."""
    entries = named_entries(repository)
    if not entries:
        typer.echo(f"{repository} holds no entry", err=True)
        raise typer.Exit(1)
    bad = [entry.name for entry in entries if not _say(entry)]
    typer.echo(f"{len(entries) - len(bad)} of {len(entries)} entries are whole")
    if bad:
        raise typer.Exit(1)


def _say(entry: Path) -> bool:
    try:
        card = check_entry(entry)
    except InvalidEntry as err:
        typer.echo(f"REFUSED ({err.reason})  {err.detail}", err=True)
        return False
    typer.echo(f"ok  {entry.name}  sha256 {card.onnx_sha256[:12]}…")
    return True
