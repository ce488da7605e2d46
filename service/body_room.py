"""What the bodies of all requests together may take in memory.

Each is bounded by itself, and so are the requests in flight; but a body that is still arriving has no permit yet, and a
thousand slow ones of ten megabytes are ten gigabytes.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import Overloaded


class BodyRoom:
    """ASGI around the app: Overloaded for the piece that does not fit; pieces count until their request ends."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self.taken_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        own_bytes = 0

        async def receive_and_count() -> Message:
            nonlocal own_bytes
            message = await receive()
            size = len(message.get("body", b""))
            if self.taken_bytes + size > self._max_bytes:
                limit = f"{self._max_bytes} bytes"
                raise Overloaded("the bodies of other requests take all the memory there is for them", limit=limit)
            self.taken_bytes += size
            own_bytes += size
            return message

        try:
            await self._app(scope, receive_and_count, send)
        finally:
            self.taken_bytes -= own_bytes
