"""When a request arrived and what it is called: noted before anything else looks at it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ACCEPTABLE = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class ClientGone(asyncio.CancelledError):
    """The client hung up, so its request was cancelled: nobody's fault, and nobody is left to be told."""


class Arrival:
    """ASGI middleware: stamps `received_s` (monotonic) and the request's id, and sends the id back.

    A client's own X-Request-Id is kept if it is 1 to 128 letters, digits, dots, dashes, colons or underscores.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope.setdefault("vision.received_s", time.monotonic())  # the protocol knows better
        identity = acceptable_id(Headers(scope=scope).get("x-request-id", "")) or os.urandom(16).hex()
        scope["vision.request_id"] = identity

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-request-id", identity.encode("ascii"))]
            await send(message)

        # To a server an app that was cancelled has failed: it would log a traceback for each client that hangs up.
        with contextlib.suppress(ClientGone):
            await self._app(scope, receive, send_with_id)


def acceptable_id(own: str) -> str:
    """The client's own id, if it may be used; else nothing."""
    return own if _ACCEPTABLE.fullmatch(own) else ""


def received_s(scope: Scope | dict[str, Any]) -> float:
    """`time.monotonic()` when the request's headers had arrived."""
    stamp: float = scope["vision.received_s"]
    return stamp


def request_id(scope: Scope | dict[str, Any]) -> str:
    identity: str = scope["vision.request_id"]
    return identity
