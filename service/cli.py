"""`vision`: the command line."""

from __future__ import annotations

import contextlib
import logging
import math
import os
from typing import Annotated

import typer
import uvicorn

# ONNX Runtime's wheels report home unless told not to, and they look when they are imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from service.app import create_app
from service.drain import Drain, DrainingServer
from service.settings import Settings
from service.verify_command import verify

app = typer.Typer(no_args_is_help=True, add_completion=True, help="Pictures in, labels out, within a latency budget.")

TRY_IT = """
vision-gateway listens on http://{host}:{port}   (engine: {engine})

  curl -H 'Content-Type: image/jpeg' --data-binary @picture.jpg 'http://{host}:{port}/v1/classify?tier=interactive'
  curl http://{host}:{port}/v1/models
  http://{host}:{port}/docs
"""


@app.callback()
def vision() -> None:
    """Settings come from the environment, VISION_<NAME>; `docs/settings.md` lists them."""


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
) -> None:
    """Serve the model repository over HTTP until interrupted."""
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = Settings().model_copy(update=given)
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    typer.echo(TRY_IT.format(host=settings.host, port=settings.port, engine=settings.engine))
    drain = Drain(create_app(settings))
    config = uvicorn.Config(
        drain,
        host=settings.host,
        port=settings.port,
        log_level=settings.log_level,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=math.ceil(settings.grace_s),
    )
    server = DrainingServer(config, drain, settings.drain_s)
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is how one stops it by hand: no traceback
        server.run()
    if not server.started:
        raise typer.Exit(1)


app.command()(verify)


def main() -> None:
    app()
