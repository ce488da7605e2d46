"""`vision serve`: the gateway."""

from __future__ import annotations

import contextlib
import logging
import math
from typing import Annotated

import typer

TRY_IT = """
vision-gateway listens on http://{host}:{port}   (engine: {engine})

  curl -H 'Content-Type: image/jpeg' --data-binary @picture.jpg 'http://{host}:{port}/v1/classify?tier=interactive'
  curl http://{host}:{port}/v1/models
  http://{host}:{port}/docs
"""


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
) -> None:
    """Serve the model repository over HTTP until interrupted.

    Exit codes: 0 stopped, 1 it could not start, 2 wrong usage.
    """
    import uvicorn

    from service.app import create_app
    from service.cli.in_process import read_settings
    from service.drain import Drain, DrainingServer
    from service.grpc_front import GrpcFront

    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = read_settings().model_copy(update=given)
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
    front = GrpcFront(drain, settings) if settings.grpc_port else None
    server = DrainingServer(config, drain, settings.drain_s, front)
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is how one stops it by hand: no traceback
        server.run()
    if not server.started:
        raise typer.Exit(1)
