"""A thousand connections at once: all used in turn, some read an answer a few bytes at a time, some send as slowly.

Requests are bytes made beforehand and answers are looked at when the run is over, so that the crowd takes little from
the machine that it measures.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.client import Connection, when_due

_OPENED_AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class Asked:
    """number  of the request     status  0: no answer came     server_ms  what the refusal itself says it took"""

    number: int
    due_s: float
    answered_s: float
    late_ms: float
    status: int
    body: bytes
    server_ms: float | None

    @property
    def took_ms(self) -> float:
        """From when it was really sent: how long the client waited."""
        return (self.answered_s - self.due_s) * 1e3 - self.late_ms


class Crowd:
    """Kept-alive connections to 127.0.0.1:port; the one that has rested longest is used next."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._resting: deque[Connection] = deque()
        self.open_now = 0
        self.reopened = 0

    async def open(self, count: int) -> None:
        for first in range(0, count, _OPENED_AT_ONCE):
            some = range(first, min(count, first + _OPENED_AT_ONCE))
            self._resting.extend(await asyncio.gather(*(self._connect() for _ in some)))

    async def _connect(self) -> Connection:
        _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", self._port)
        self.open_now += 1
        return connection

    async def ask(self, request: bytes) -> tuple[int, bytes, bytes]:
        """(status, head, body); status 0 and why, if no answer came or no connection was at rest."""
        try:
            connection = await self._rested()
        except (OSError, IndexError) as err:
            return 0, b"", repr(err).encode()
        try:
            status, body = await connection.ask(request)
        except (OSError, TimeoutError) as err:
            self._lost(connection)
            return 0, b"", repr(err).encode()
        self._resting.append(connection)
        return status, connection.head, body

    async def _rested(self) -> Connection:
        connection = self._resting.popleft()
        if connection.transport is None or connection.transport.is_closing():
            self._lost(connection)
            self.reopened += 1
            connection = await self._connect()
        return connection

    def _lost(self, connection: Connection) -> None:
        self.open_now -= 1
        if connection.transport is not None:
            connection.transport.abort()

    def close(self) -> None:
        for connection in self._resting:
            self._lost(connection)
        self._resting.clear()


async def in_the_open(crowd: Crowd, requests: Sequence[bytes], due_s: Sequence[float]) -> list[Asked]:
    """Each request when it is due, whatever became of those before it."""
    began_s = time.perf_counter()
    found: list[Asked] = []

    async def one(number: int) -> None:
        late_ms = (time.perf_counter() - began_s - due_s[number]) * 1e3
        status, head, body = await crowd.ask(requests[number])
        answered_s = time.perf_counter() - began_s
        found.append(Asked(number, due_s[number], answered_s, late_ms, status, body, _said_ms(head)))

    await when_due(one, due_s, began_s)
    return found


def _said_ms(head: bytes) -> float | None:
    """`Server-Timing: refused;dur=1.5`, of a refusal."""
    _, _, rest = head.partition(b"refused;dur=")
    return float(rest.split(b"\r\n", 1)[0]) if rest else None


async def read_slowly(port: int, request: bytes, until_s: float, *, piece: int = 64, pause_s: float = 0.02) -> int:
    """Asks again and again on one connection and takes a few bytes at a time of each answer. Bytes taken."""
    loop, taken = asyncio.get_running_loop(), 0
    while time.perf_counter() < until_s:
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.setblocking(False)
            try:
                await loop.sock_connect(connection, ("127.0.0.1", port))
                await loop.sock_sendall(connection, request)
                while time.perf_counter() < until_s and (some := await loop.sock_recv(connection, piece)):
                    taken += len(some)
                    await asyncio.sleep(pause_s)
            except OSError:
                await asyncio.sleep(0.1)
    return taken


async def send_slowly(port: int, request: bytes, until_s: float, *, pieces: int = 60, pause_s: float = 0.1) -> int:
    """Sends a request in many pieces, again and again. How many were answered before their last piece was sent."""
    early, size = 0, max(1, len(request) // pieces)
    while time.perf_counter() < until_s:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            answer = asyncio.ensure_future(reader.readuntil(b"\r\n\r\n"))
            for start in range(0, len(request), size):
                if answer.done():
                    break
                writer.write(request[start : start + size])
                await asyncio.sleep(pause_s)
            early += answer.done()
            await asyncio.wait_for(answer, 30.0)
            writer.close()
        except (OSError, EOFError, TimeoutError):
            await asyncio.sleep(0.1)
    return early
