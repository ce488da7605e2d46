"""An open-loop client: every request is sent when it is due, whatever became of those before it.

One process, one event loop, as many kept-alive connections as are needed; a request is bytes made beforehand, an answer
is kept as bytes and read when the run is over, so that the client takes little from the machine that it measures.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, cast

MOST_CONNECTIONS = 400
ANSWER_TIMEOUT_S = 15.0


@dataclass(frozen=True, slots=True)
class Sent:
    """due_s, answered_s  seconds since the run began     late_ms  how much later than due it was really sent

    status 0: no answer came.
    """

    due_s: float
    answered_s: float
    late_ms: float
    status: int
    body: bytes

    @property
    def latency_ms(self) -> float:
        return (self.answered_s - self.due_s) * 1e3


def post(path: str, picture: bytes, port: int) -> bytes:
    """One HTTP/1.1 request with a JPEG as its body."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: image/jpeg\r\n"
        f"Content-Length: {len(picture)}\r\n\r\n"
    )
    return head.encode() + picture


class Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self.transport: asyncio.Transport | None = None
        self.head = b""  # of the last answer, in lower case

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """(status, body). Raises ConnectionError, TimeoutError."""
        if self.transport is None or self.transport.is_closing():
            raise ConnectionError("closed")
        self._buffer.clear()
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await asyncio.wait_for(self._answer, ANSWER_TIMEOUT_S)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or self._answer is None or self._answer.done():
            return
        self.head = head = bytes(self._buffer[:end]).lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self._buffer) >= end + 4 + length:
            self._answer.set_result((int(head[9:12]), bytes(self._buffer[end + 4 : end + 4 + length])))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("the server closed the connection"))


class Client:
    """Connections to 127.0.0.1:port, taken last in, first out, opened when there is none."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._free: list[Connection] = []
        self._opened = 0

    async def open(self, count: int) -> None:
        self._free.extend([await self._connect() for _ in range(count)])

    async def _connect(self) -> Connection:
        if self._opened >= MOST_CONNECTIONS:
            raise ConnectionError(f"more than {MOST_CONNECTIONS} connections")
        self._opened += 1
        _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", self._port)
        return connection

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """(status, body); (0, why) without an answer."""
        try:
            connection = self._alive() or await self._connect()
        except OSError as err:
            return 0, str(err).encode()
        try:
            answer = await connection.ask(request)
        except (OSError, TimeoutError) as err:
            self._opened -= 1
            if connection.transport is not None:
                connection.transport.abort()
            return 0, repr(err).encode()
        self._free.append(connection)
        return answer

    def _alive(self) -> Connection | None:
        """A free connection that the server has not closed meanwhile, as it does with those idle for seconds."""
        while self._free:
            connection = self._free.pop()
            if connection.transport is not None and not connection.transport.is_closing():
                return connection
            self._opened -= 1
        return None

    def close(self) -> None:
        for connection in self._free:
            if connection.transport is not None:
                connection.transport.close()
        self._free.clear()
        self._opened = 0


async def open_loop(client: Client, requests: Sequence[bytes], due_s: Sequence[float]) -> list[Sent]:
    """What came of each request, in the order of `requests`; ends when all are answered or given up."""
    began_s = time.perf_counter()
    found: list[Sent | None] = [None] * len(requests)

    async def one(number: int) -> None:
        late_ms = (time.perf_counter() - began_s - due_s[number]) * 1e3
        status, body = await client.ask(requests[number])
        found[number] = Sent(due_s[number], time.perf_counter() - began_s, late_ms, status, body)

    await when_due(one, due_s, began_s)
    return [sent for sent in found if sent is not None]


async def when_due(one: Callable[[int], Coroutine[Any, Any, None]], due_s: Sequence[float], began_s: float) -> None:
    """Begins `one(number)` at each time after `began_s` (of time.perf_counter), whatever became of those before it."""
    async with asyncio.TaskGroup() as group:
        for number, due in enumerate(due_s):
            wait_s = due - (time.perf_counter() - began_s)
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            group.create_task(one(number))


async def closed_loop(client: Client, requests: Sequence[bytes], at_once: int, duration_s: float) -> float:
    """Answers a second when `at_once` are always under way."""
    ends_s = time.perf_counter() + duration_s
    answered = 0

    async def keep_asking(first: int) -> None:
        nonlocal answered
        number = first
        while time.perf_counter() < ends_s:
            status, body = await client.ask(requests[number % len(requests)])
            if status != 200:
                raise RuntimeError(f"status {status}: {body[:300]!r}")
            answered += 1
            number += at_once

    began_s = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for first in range(at_once):
            group.create_task(keep_asking(first))
    return answered / (time.perf_counter() - began_s)
