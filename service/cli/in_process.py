"""The gateway inside this process: the same app that `vision serve` serves, asked without a network."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import typer

from service.client import AsyncClient


@asynccontextmanager
async def in_process(api_key: str | None) -> AsyncIterator[AsyncClient]:
    """A client of a gateway that lives as long as this context, with the settings of the environment."""
    # Seconds: only when no server was named.
    from service.app import create_app
    from service.engines.addresses import InvalidAddress
    from service.environment import read_settings

    logging.getLogger("service").setLevel(logging.ERROR)  # who typed a command did not ask for a server's log
    # It opens no door, so it need not be told who may come in.
    indoors = {"host": "127.0.0.1", "api_keys_file": ""}
    try:
        app = create_app(read_settings().model_copy(update=indoors))
    except InvalidAddress as err:
        raise typer.BadParameter(str(err)) from err
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    lifespan = app.router.lifespan_context(app)
    await lifespan.__aenter__()
    try:
        async with AsyncClient("http://in-process", api_key=api_key, transport=transport) as client:
            yield client
    finally:
        # However the command ends, the app ends in the ordinary way: its worker threads must not outlive it.
        await lifespan.__aexit__(None, None, None)


def what_is_missing() -> str:
    """Why the gateway of this process has no model, and what to type."""
    from service.environment import read_settings

    settings = read_settings()
    if settings.engine == "triton":
        return f"no model is ready on the Triton at {settings.triton_url}"
    return (
        f"no model in {settings.repository}/: `vision-export --default` makes some, VISION_REPOSITORY names another "
        "folder, --server URL asks a gateway"
    )
