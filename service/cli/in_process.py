"""The gateway inside this process: the same app that `vision serve` serves, asked without a network."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import typer

from service.client import AsyncClient

if TYPE_CHECKING:
    from service.settings import Settings


def read_settings() -> Settings:
    """The settings of the environment. Raises BadParameter (exit code 2) naming the variable that is wrong."""
    from pydantic import ValidationError

    from service.settings import Settings

    try:
        return Settings()
    except ValidationError as err:
        first = err.errors()[0]
        name = "_".join(str(part) for part in first["loc"]).upper()
        raise typer.BadParameter(f"{first['msg']}.", param_hint=f"VISION_{name}") from err


@asynccontextmanager
async def in_process(api_key: str | None) -> AsyncIterator[AsyncClient]:
    """A client of a gateway that lives as long as this context, with the settings of the environment."""
    # Seconds: only when no server was named.
    from service.app import create_app

    logging.getLogger("service").setLevel(logging.ERROR)  # who typed a command did not ask for a server's log
    app = create_app(read_settings())
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
    settings = read_settings()
    if settings.engine == "triton":
        return f"no model is ready on the Triton at {settings.triton_url}"
    return (
        f"no model in {settings.repository}/: `vision-export --default` makes some, VISION_REPOSITORY names another "
        "folder, --server URL asks a gateway"
    )
