"""The load generator: one process, one thread, epoll and nothing in between; the same for every server.

    python -m benchmarks.peers.load --port P --clients 8 --seconds 4                     closed loop
    python -m benchmarks.peers.load --port P --rate 120 --clients 256 --seconds 4        open loop, Poisson arrivals

Prints one JSON document: latencies, and how much processor time it took itself. In open loop a latency counts from
when the request was due, whatever kept it from being sent; `--clients` is then the most connections.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import resource
import select
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
# What was due is waited for so long after the last arrival.
GRACE_S = 5.0
_BOUNDARY = "vision-gateway-benchmark"


@dataclass
class Exchange:
    """One request on its way: `since_s` is when it was sent or, in open loop, due."""

    since_s: float
    counts: bool
    unsent: memoryview


@dataclass
class Connection:
    socket: socket.socket
    exchange: Exchange | None = None
    received: bytearray = field(default_factory=bytearray)
    writing: bool = False


@dataclass
class Report:
    latencies_ms: list[float] = field(default_factory=list)
    answered_in_window: int = 0
    failed: int = 0
    late_ms: list[float] = field(default_factory=list)
    first_failure: str = ""
    own_ms: list[float] = field(default_factory=list)


def message(path: str, port: int, picture: bytes, form: bool) -> bytes:
    """One HTTP/1.1 request with the picture as its body, or as the file `content` of a form."""
    kind = "image/jpeg"
    if form:
        head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="content"; filename="p.jpg"\r\n'
        picture = f"{head}Content-Type: image/jpeg\r\n\r\n".encode() + picture + f"\r\n--{_BOUNDARY}--\r\n".encode()
        kind = f"multipart/form-data; boundary={_BOUNDARY}"
    lines = (f"POST {path} HTTP/1.1", f"Host: {HOST}:{port}", f"Content-Type: {kind}")
    return "\r\n".join((*lines, f"Content-Length: {len(picture)}", "", "")).encode() + picture


class Load:
    """Messages in turn, over as many connections as are needed, until told to stop."""

    def __init__(self, port: int, messages: list[bytes], connections: int, seed: int, *, timings: bool) -> None:
        self._timings = timings
        self._port = port
        self._messages = [memoryview(message) for message in messages]
        random.Random(seed).shuffle(self._messages)
        self._next = 0
        self._most = connections
        self._epoll = select.epoll()
        self._by_fd: dict[int, Connection] = {}
        self._free: list[Connection] = []
        self.report = Report()

    def closed(self, warm_s: float, seconds: float) -> None:
        """Every connection asks again as soon as it has its answer."""
        self._free = [self._connect() for _ in range(self._most)]
        from_s = time.perf_counter() + warm_s
        until_s = from_s + seconds
        while (now_s := time.perf_counter()) < until_s:
            while self._free:
                self._send(self._free.pop(), now_s, counts=now_s >= from_s)
            self._wait(until_s - now_s, from_s, until_s)

    def open(self, rate: float, warm_s: float, seconds: float, seed: int) -> None:
        """Requests at the times of a Poisson process, sent then if a connection is free or may still be opened."""
        dice = random.Random(seed)
        from_s = time.perf_counter() + warm_s
        until_s = from_s + seconds
        due_s = time.perf_counter() + dice.expovariate(rate)
        pending: deque[float] = deque()
        while (now_s := time.perf_counter()) < until_s + GRACE_S:
            while due_s <= now_s and due_s < until_s:
                pending.append(due_s)
                due_s += dice.expovariate(rate)
            while pending and (self._free or len(self._by_fd) < self._most):
                connection = self._free.pop() if self._free else self._connect()
                since_s = pending.popleft()
                self.report.late_ms.append((time.perf_counter() - since_s) * 1e3)
                self._send(connection, since_s, counts=since_s >= from_s)
            if now_s >= until_s and not pending and len(self._free) == len(self._by_fd):
                return
            self._wait(max(0.0, (due_s if due_s < until_s else until_s + GRACE_S) - now_s), from_s, math.inf)
        self.report.failed += len(pending) + len(self._by_fd) - len(self._free)
        self.report.first_failure = self.report.first_failure or f"no answer within {GRACE_S:g} s of the end"

    def close(self) -> None:
        for connection in self._by_fd.values():
            connection.socket.close()
        self._epoll.close()

    def _connect(self) -> Connection:
        made = socket.create_connection((HOST, self._port), timeout=10)
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = self._by_fd[made.fileno()] = Connection(made)
        self._epoll.register(made.fileno(), select.EPOLLIN)
        return connection

    def _send(self, connection: Connection, since_s: float, *, counts: bool) -> None:
        connection.received.clear()
        connection.exchange = Exchange(since_s, counts, self._messages[self._next % len(self._messages)])
        self._next += 1
        self._push(connection, connection.exchange)

    def _push(self, connection: Connection, exchange: Exchange) -> None:
        try:
            exchange.unsent = exchange.unsent[connection.socket.send(exchange.unsent) :]
        except BlockingIOError:
            pass
        except OSError as err:
            self._lost(connection, repr(err))
            return
        if bool(exchange.unsent) != connection.writing:
            connection.writing = bool(exchange.unsent)
            events = select.EPOLLIN | select.EPOLLOUT if connection.writing else select.EPOLLIN
            self._epoll.modify(connection.socket.fileno(), events)

    def _wait(self, timeout_s: float, from_s: float, until_s: float) -> None:
        for fd, event in self._epoll.poll(max(0.0, timeout_s)):
            connection = self._by_fd.get(fd)
            if connection is None:
                continue
            if event & select.EPOLLOUT and connection.exchange is not None:
                self._push(connection, connection.exchange)
            if event & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                self._receive(connection, from_s, until_s)

    def _receive(self, connection: Connection, from_s: float, until_s: float) -> None:
        try:
            data = connection.socket.recv(262_144)
        except BlockingIOError:
            return
        except OSError as err:
            self._lost(connection, repr(err))
            return
        if not data:
            self._lost(connection, "the server closed the connection")
            return
        connection.received += data
        if not _complete(connection.received) or connection.exchange is None:
            return
        now_s = time.perf_counter()
        exchange, connection.exchange = connection.exchange, None
        self._free.append(connection)
        if connection.received[9:12] != b"200":
            self.report.failed += 1
            self.report.first_failure = self.report.first_failure or connection.received[:300].decode(errors="replace")
        elif exchange.counts:
            took_ms = (now_s - exchange.since_s) * 1e3
            self.report.latencies_ms.append(took_ms)
            if self._timings:
                self.report.own_ms.append(took_ms - _steps_ms(connection.received))
        if connection.received[9:12] == b"200" and from_s <= now_s <= until_s:
            self.report.answered_in_window += 1

    def _lost(self, connection: Connection, why: str) -> None:
        if connection.exchange is not None:
            self.report.failed += 1
            self.report.first_failure = self.report.first_failure or why
        self._by_fd.pop(connection.socket.fileno(), None)
        if connection in self._free:
            self._free.remove(connection)
        connection.socket.close()


def _complete(received: bytearray) -> bool:
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return False
    head = received[:end].lower()
    at = head.find(b"content-length:")
    if at < 0:
        return received.endswith(b"0\r\n\r\n") and b"chunked" in head
    return len(received) >= end + 4 + int(head[at + 15 :].split(b"\r\n", 1)[0])


def _steps_ms(received: bytearray) -> float:
    """What the answer's Server-Timing says that decoding, waiting for a thread, and the model took."""
    head = bytes(received[: received.find(b"\r\n\r\n")]).decode("latin-1").lower()
    steps = dict(re.findall(r"(decode|queue|infer);dur=([0-9.]+)", head))
    return sum(float(ms) for ms in steps.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", default="/predict")
    parser.add_argument("--form", action="store_true", help="the picture in a form instead of as the body")
    parser.add_argument("--pictures", type=Path, required=True, help="folder of JPEGs")
    parser.add_argument(
        "--clients", type=int, required=True, help="closed loop: at once; open loop: connections at most"
    )
    parser.add_argument("--rate", type=float, default=0.0, help="requests a second: open loop")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--warm", type=float, default=0.5, help="seconds before that, not counted")
    parser.add_argument("--timings", action="store_true", help="also what Server-Timing does not account for")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    pictures = [path.read_bytes() for path in sorted(asked.pictures.iterdir())]
    messages = [message(asked.path, asked.port, picture, asked.form) for picture in pictures]
    load = Load(asked.port, messages, asked.clients, asked.seed, timings=asked.timings)
    before_s = _used_s()
    if asked.rate:
        load.open(asked.rate, asked.warm, asked.seconds, asked.seed)
    else:
        load.closed(asked.warm, asked.seconds)
    load.close()
    json.dump(document(load.report, asked.seconds + asked.warm, _used_s() - before_s), sys.stdout)


def _used_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def document(report: Report, lasted_s: float, client_cpu_s: float) -> dict[str, Any]:
    return {
        "latencies_ms": [round(ms, 3) for ms in report.latencies_ms],
        "own_ms": [round(ms, 3) for ms in report.own_ms],
        "answered_in_window": report.answered_in_window,
        "failed": report.failed,
        "first_failure": report.first_failure,
        "sent_late_p99_ms": round(sorted(report.late_ms)[int(len(report.late_ms) * 0.99)], 3)
        if report.late_ms
        else 0.0,
        "client_cpu_s": round(client_cpu_s, 3),
        "lasted_s": lasted_s,
    }


if __name__ == "__main__":
    main()
