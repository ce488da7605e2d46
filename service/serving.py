"""`vision serve`: one process, two ports. The public one drains; the admin one stays until nothing is left to see."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import socket
import sys
from collections.abc import Generator
from pathlib import Path

import uvicorn

from service.admin import create_admin_app
from service.app import create_app
from service.body_room import BodyRoom
from service.doors import require_closed_doors
from service.drain import Drain, DrainingServer
from service.engines.addresses import Addresses, InvalidAddress
from service.front import Front, SecondLook
from service.gateway import Gateway
from service.grpc_front import GrpcFront
from service.http_protocol import limited
from service.keys import KeyRing
from service.settings import Settings

SWITCH_INTERVAL_S = 0.001

log = logging.getLogger(__name__)


class CannotServe(Exception):
    """A port that cannot be had, or settings that contradict each other; the sentence says what to set."""


class AdminServer(uvicorn.Server):
    """uvicorn beside another uvicorn, in its event loop: it leaves signals to that one."""

    def __init__(self, config: uvicorn.Config, listening: socket.socket) -> None:
        super().__init__(config)
        self._listening = listening
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        log.info("metrics are on the admin port, %s:%d", *self._listening.getsockname()[:2])
        self._serving = asyncio.create_task(self.serve([self._listening]), name="admin port")

    async def stop(self) -> None:
        self.should_exit = True
        if self._serving is not None:
            await self._serving

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def serve(settings: Settings) -> bool:
    """Serves until a signal ends it; False if the public port could not be had.

    Raises CannotServe, OpenDoors and InvalidKeys before anything listens.
    """
    # A worker that runs Python, not a model or a decoder, keeps the event loop waiting for so long at most.
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    app = create_app(settings)
    gateway: Gateway = app.state.gateway
    drain = Drain(app)
    room = BodyRoom(drain, settings.max_waiting_bytes)
    front = Front(gateway.metrics)
    config = uvicorn.Config(
        SecondLook(room, front),
        host=settings.host,
        port=settings.port,
        ssl_certfile=settings.tls_cert or None,
        ssl_keyfile=settings.tls_key or None,
        log_level=settings.log_level,
        access_log=False,
        server_header=False,
        http=limited(settings, gateway.metrics, front),
        ws="none",
        timeout_graceful_shutdown=math.ceil(settings.grace_s),
    )
    if settings.tls_cert:
        try:
            config.load()
        except OSError as err:
            raise CannotServe(f"VISION_TLS_CERT and VISION_TLS_KEY cannot be used: {err}") from None
    with _admin(settings, gateway) as admin:
        grpc = GrpcFront(room, settings) if settings.grpc_port else None
        server = DrainingServer(config, drain, settings.drain_s, beside=admin, front=grpc)
        with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is how one stops it by hand: no traceback
            server.run()
    return server.started


def check(settings: Settings) -> None:
    """Raises CannotServe for settings that contradict each other, and what `create_app` raises for open doors."""
    require_closed_doors(settings)
    if settings.api_keys_file:
        KeyRing(Path(settings.api_keys_file))
    largest = max(settings.max_body_bytes, settings.max_tensor_bytes)
    if settings.max_waiting_bytes < largest:
        raise CannotServe(
            f"VISION_MAX_WAITING_BYTES is {settings.max_waiting_bytes}, less than the largest body, {largest}"
        )
    if settings.engine == "triton":
        try:
            Addresses(settings.triton_url)
        except InvalidAddress as err:
            raise CannotServe(str(err)) from err
    if settings.admin_port == settings.port:
        raise CannotServe(f"VISION_PORT and VISION_ADMIN_PORT are both {settings.port}: give each its own")
    if bool(settings.tls_cert) != bool(settings.tls_key):
        raise CannotServe("VISION_TLS_CERT and VISION_TLS_KEY go together: set both, or neither")


@contextlib.contextmanager
def _admin(settings: Settings, gateway: Gateway) -> Generator[AdminServer | None, None, None]:
    """The admin port, taken but not yet served. Raises CannotServe if it cannot be had."""
    if settings.admin_port == 0:
        yield None
        return
    family = socket.AF_INET6 if ":" in settings.admin_host else socket.AF_INET
    try:
        listening = socket.create_server((settings.admin_host, settings.admin_port), family=family)
    except OSError as err:
        raise CannotServe(
            f"the admin port {settings.admin_host}:{settings.admin_port} cannot be had ({err.strerror or err}): set "
            "VISION_ADMIN_PORT to another, or to 0 for none"
        ) from None
    with listening:
        config = uvicorn.Config(
            create_admin_app(gateway),
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            http=limited(settings, gateway.metrics),
            ws="none",
            timeout_graceful_shutdown=1,
        )
        yield AdminServer(config, listening)
