"""Ending without dropping anything: not ready first, then no new connections, then everything admitted is answered."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
from types import FrameType
from typing import Protocol

import uvicorn
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import NotReady
from service.grpc_front import GrpcFront
from service.problems import problem
from service.request_id import Arrival
from service.security_headers import SecurityHeaders

log = logging.getLogger(__name__)

READY = ("/health/ready", "/v2/health/ready")
SETTLE_S = 0.1


class Drain:
    """ASGI around the app: from `begin` on, /health/ready and its like are 503; all else is answered as before."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.begun = False

    def begin(self) -> None:
        self.begun = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.begun and scope["type"] == "http" and scope["path"] in READY:
            # Problems are counted by the app's own metrics.
            await Arrival(SecurityHeaders(_going))({**scope, "app": self._app}, receive, send)
        else:
            await self._app(scope, receive, send)


async def _going(scope: Scope, receive: Receive, send: Send) -> None:
    await problem(Request(scope), NotReady("the service is shutting down"))(scope, receive, send)


class ServerBeside(Protocol):
    """Another server in the same event loop: there from when this one listens until it has answered everything."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


class DrainingServer(uvicorn.Server):
    """uvicorn's server, which after SIGTERM or SIGINT says for `drain_s` that it is going and goes on serving.

    Load balancers need that time to look away. Then uvicorn's own shutdown follows: the socket is closed, idle
    connections too, and what was admitted has `timeout_graceful_shutdown` to be answered. A second Ctrl-C ends at once.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        drain: Drain,
        drain_s: float,
        *,
        beside: ServerBeside | None = None,
        front: GrpcFront | None = None,
    ) -> None:
        super().__init__(config)
        self._drain = drain
        self._drain_s = drain_s
        self._beside = beside
        self._front = front

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._beside is not None:
            await self._beside.start()
        if self._front is not None and self.started:
            try:
                await self._front.start()
            except RuntimeError as err:
                log.error("gRPC cannot be served: %s", err)
                self.started, self.should_exit = False, True
        # What there is now stays until the end. Looking through all of it takes the garbage collector tens of
        # milliseconds, in which nobody is answered; from here on it looks at what came later.
        gc.collect()
        gc.freeze()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._drain.begin()
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._drain.begin()
        until_s = asyncio.get_running_loop().time() + self._drain_s
        if self._drain_s:
            log.info("not ready any more; new requests are taken for %g s", self._drain_s)
        while not self.force_exit and asyncio.get_running_loop().time() < until_s:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        for server in self.servers:
            server.close()
        if self._front is not None:
            await self._front.stop(float(self.config.timeout_graceful_shutdown or 0))
        # uvicorn closes connections whose request it has not read yet: those that got in just before are waited for.
        await asyncio.sleep(SETTLE_S)
        try:
            await super().shutdown(sockets)
        finally:
            if self._beside is not None:
                await self._beside.stop()
