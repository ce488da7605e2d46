"""`vision`: the command line."""

from __future__ import annotations

import logging
import os
from typing import Annotated

import typer

# ONNX Runtime's wheels report home unless told not to, and they look when they are imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from service import keys_command, serving
from service.doors import OpenDoors
from service.keys import InvalidKeys
from service.serving import CannotServe
from service.settings import Settings

app = typer.Typer(no_args_is_help=True, add_completion=True, help="Pictures in, labels out, within a latency budget.")
app.add_typer(keys_command.app, name="keys")

TRY_IT = """
vision-gateway listens on {scheme}://{host}:{port}   (engine: {engine})

  curl -H 'Content-Type: image/jpeg' --data-binary @picture.jpg '{scheme}://{host}:{port}/v1/classify?tier=interactive'
  curl {scheme}://{host}:{port}/v1/models
  {scheme}://{host}:{port}/docs
"""


@app.callback()
def vision() -> None:
    """Settings come from the environment, VISION_<NAME>; `docs/settings.md` lists them."""


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    admin_port: Annotated[int | None, typer.Option(min=0, max=65535, help="The admin port; 0: none.")] = None,
) -> None:
    """Serve the model repository over HTTP until interrupted."""
    options = (("host", host), ("port", port), ("admin_port", admin_port))
    given = {name: value for name, value in options if value is not None}
    settings = Settings().model_copy(update=given)
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        serving.check(settings)
        scheme = "https" if settings.tls_cert else "http"
        typer.echo(TRY_IT.format(scheme=scheme, host=settings.host, port=settings.port, engine=settings.engine))
        started = serving.serve(settings)
    except (CannotServe, OpenDoors, InvalidKeys) as err:
        typer.echo(f"vision serve: {err}", err=True)
        raise typer.Exit(2) from None
    if not started:
        raise typer.Exit(1)


def main() -> None:
    app()
