"""Names of models for the shell: of the server on the line, else of the model repository."""

from __future__ import annotations

import contextlib
import os

import typer

_WAIT_S = 1.0


def complete_model(ctx: typer.Context, incomplete: str) -> list[str]:
    """Every name that begins so, of the command's task. Nothing, rather than an error, where nobody knows."""
    task = ctx.params.get("task") or ctx.info_name
    server = ctx.params.get("server") or os.environ.get("VISION_SERVER")
    try:
        names = _of_server(server, ctx.params.get("api_key"), task) if server else _of_repository(task)
    except Exception:  # the shell would show a traceback in the middle of the line being typed
        return []
    return sorted(name for name in names if name.startswith(incomplete))


def _of_server(url: str, api_key: str | None, task: str | None) -> set[str]:
    from service.client import Client

    with Client(url, api_key=api_key or os.environ.get("VISION_API_KEY"), timeout_s=_WAIT_S, retries=0) as client:
        return {name for model in client.models() if model.task == task for name in (model.name, model.variant_of)}


def _of_repository(task: str | None) -> set[str]:
    from service.entry_config import read_entry
    from service.entry_files import CONFIG_FILE
    from service.errors import InvalidEntry
    from service.settings import Settings

    names: set[str] = set()
    for config in Settings().repository.glob(f"*/{CONFIG_FILE}"):
        with contextlib.suppress(InvalidEntry):
            card = read_entry(config.parent)
            if card.task == task:
                names |= {card.name, card.variant_of}
    return names
