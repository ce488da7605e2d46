"""`vision serve`: the gateway."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

TRY_IT = """
vision-gateway listens on {scheme}://{host}:{port}   (engine: {engine})

  curl -H 'Content-Type: image/jpeg' --data-binary @picture.jpg '{scheme}://{host}:{port}/v1/classify?tier=interactive'
  curl {scheme}://{host}:{port}/v1/models
  {scheme}://{host}:{port}/docs
"""


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port to listen on.")] = None,
    admin_port: Annotated[int | None, typer.Option(min=0, max=65535, help="The admin port; 0: none.")] = None,
) -> None:
    """Serve the model repository over HTTP until interrupted.

    Exit codes: 0 stopped, 1 it could not start, 2 wrong usage or settings.
    """
    from service import serving
    from service.doors import OpenDoors
    from service.environment import read_settings
    from service.keys import InvalidKeys

    options = (("host", host), ("port", port), ("admin_port", admin_port))
    given = {name: value for name, value in options if value is not None}
    settings = read_settings().model_copy(update=given)
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        serving.check(settings)
        scheme = "https" if settings.tls_cert else "http"
        typer.echo(TRY_IT.format(scheme=scheme, host=settings.host, port=settings.port, engine=settings.engine))
        started = serving.serve(settings)
    except (serving.CannotServe, OpenDoors, InvalidKeys) as err:
        typer.echo(f"vision serve: {err}", err=True)
        raise typer.Exit(2) from None
    if not started:
        raise typer.Exit(1)
