"""A transport that sends what is written in one go in one piece: an answer's head and its body above all.

uvicorn writes the head, then the body, and each is a segment of its own: twice the way through the kernel, and a client
that is woken by the head only to find that there is nothing to read yet.
"""

from __future__ import annotations

import asyncio
from typing import Any

# What is larger is sent at once: copying it would cost more than another segment, and keeping it is no flow control.
_MOST_JOINED = 65_536


class JoinedWrites:
    """In all but `write` and `close` it is the transport behind it."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held = b""

    def write(self, data: bytes) -> None:
        """Sent together with what else is written before the event loop turns to others."""
        if len(self._held) + len(data) > _MOST_JOINED:
            self._flush()
            self._transport.write(data)
        elif self._held:
            self._held += data
        elif data:
            self._held = data
            self._loop.call_soon(self._flush)

    def close(self) -> None:
        """What was written is sent before."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        held, self._held = self._held, b""
        if held and not self._transport.is_closing():
            self._transport.write(held)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
