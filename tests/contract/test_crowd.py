"""More clients than there is room for, on bare sockets: connections, bodies, answers nobody takes, early refusals."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import uvicorn

from service.app import create_app
from service.ask import Ask
from service.body_room import BodyRoom
from service.engines.fake import FakeEngine
from service.errors import DeadlineInfeasible
from service.front import Front, SecondLook
from service.http_protocol import _SURPLUS, limited
from service.settings import Settings
from tests.cards import classifier
from tests.pictures import encoded, photograph

PICTURE = encoded(photograph())
HEALTH = b"GET /health/ready HTTP/1.1\r\nHost: gateway\r\n\r\n"


def post(length: int, query: bytes = b"tier=batch") -> bytes:
    head = b"POST /v1/classify?%s HTTP/1.1\r\nHost: gateway\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
    return head % (query, length)


@contextmanager
def served(settings: Settings, *, send_buffer: int = 0) -> Iterator[tuple[int, Any, Front]]:
    """As `vision serve` joins them, with a fake engine: port, app, front."""
    app = create_app(settings, FakeEngine([classifier()]))
    metrics = app.state.gateway.metrics
    front = Front(metrics)
    whole = SecondLook(BodyRoom(app, settings.max_waiting_bytes), front)
    config = uvicorn.Config(whole, log_config=None, http=limited(settings, metrics, front), ws="none")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        if send_buffer:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])))
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield listening.getsockname()[1], app, front
        finally:
            server.should_exit = True
            thread.join(20)


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=5.0)


def answer(connection: socket.socket) -> tuple[int, bytes, bytes]:
    """Status, head and body of one answer; status 0 if the connection was ended without one."""
    data = b""
    while b"\r\n\r\n" not in data:
        some = connection.recv(65_536)
        if not some:
            return 0, b"", data
        data += some
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    while len(body) < length:
        body += connection.recv(65_536)
    return int(head.split(b" ")[1]), head.lower(), body


def wait_until(true: Any, for_s: float = 5.0) -> None:
    ends_s = time.monotonic() + for_s
    while not true():
        assert time.monotonic() < ends_s
        time.sleep(0.01)


def test_a_connection_too_many_is_told_so_but_may_ask_for_health() -> None:
    with served(Settings(workers=1, max_connections=5)) as (port, app, _), ExitStack() as opened:
        first = [opened.enter_context(connect(port)) for _ in range(5)]
        for connection in first:
            connection.sendall(HEALTH)
            assert answer(connection)[0] == 200
        surplus = opened.enter_context(connect(port))
        surplus.sendall(post(len(PICTURE)) + PICTURE)
        status, head, body = answer(surplus)
        assert status == 503
        assert json.loads(body)["type"].endswith(":overloaded")
        assert b"connection: close" in head
        healthy = opened.enter_context(connect(port))
        healthy.sendall(HEALTH)
        assert answer(healthy)[0] == 200
        first[0].sendall(post(len(PICTURE)) + PICTURE)
        assert answer(first[0])[0] == 200
        first[0].close()
        healthy.close()
        wait_until(lambda: b"vision_connections 4.0" in app.state.gateway.metrics.exposition())
        with connect(port) as again:
            again.sendall(post(len(PICTURE)) + PICTURE)
            assert answer(again)[0] == 200


def test_far_too_many_connections_are_closed_at_once() -> None:
    with served(Settings(workers=1, max_connections=1)) as (port, _, __), ExitStack() as opened:
        for _ in range(1 + _SURPLUS):
            connection = opened.enter_context(connect(port))
        connection.sendall(HEALTH)
        assert answer(connection)[0] == 200  # the last one still heard
        beyond = opened.enter_context(connect(port))
        with suppress(ConnectionError):
            assert beyond.recv(1) == b""


def test_bodies_that_arrive_take_no_more_memory_together_than_allowed() -> None:
    settings = Settings(workers=1, max_waiting_bytes=50_000, max_body_bytes=40_000)
    with served(settings) as (port, _, __), connect(port) as slow, connect(port) as second:
        slow.sendall(post(40_000) + b"x" * 30_000)
        time.sleep(0.2)
        second.sendall(post(30_000) + b"x" * 30_000)
        status, _, body = answer(second)
        assert status == 503
        assert json.loads(body)["limit"] == "50000 bytes"
        slow.close()
        time.sleep(0.2)
        with connect(port) as third:
            third.sendall(post(len(PICTURE)) + PICTURE)
            assert len(PICTURE) < 50_000
            assert answer(third)[0] == 200


def test_an_answer_that_nobody_takes_is_given_up() -> None:
    with served(Settings(workers=1, answer_timeout_s=0.5), send_buffer=4096) as (port, app, _):
        taker = socket.socket()
        taker.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        taker.connect(("127.0.0.1", port))
        taker.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: gateway\r\n\r\n")
        wait_until(lambda: b"vision_connections 1.0" in app.state.gateway.metrics.exposition())
        wait_until(lambda: b"vision_connections 0.0" in app.state.gateway.metrics.exposition())
        taker.close()


def test_who_finds_no_permit_is_told_before_the_picture_is_sent() -> None:
    with served(Settings(workers=1, max_in_flight=2)) as (port, app, _), connect(port) as connection:
        permits = app.state.gateway.pipeline.permits
        assert permits.take("somebody")
        assert permits.take("somebody")
        connection.sendall(post(len(PICTURE)))
        status, head, _ = answer(connection)
        assert status == 503
        assert b"server-timing: refused;dur=" in head
        permits.give("somebody")
        # The picture comes all the same, and the connection is as good as before.
        connection.sendall(PICTURE)
        connection.sendall(post(len(PICTURE)) + PICTURE)
        assert answer(connection)[0] == 200


def test_a_refusal_from_the_headers_leaves_the_connection_in_order() -> None:
    with served(Settings(workers=1)) as (port, _, front), connect(port) as connection:
        connection.sendall(post(len(PICTURE)) + PICTURE)
        assert answer(connection)[0] == 200
        refused = front.refusal
        front.refusal = lambda asked: DeadlineInfeasible("the queue is long")  # type: ignore[method-assign]
        for _ in range(3):
            connection.sendall(post(len(PICTURE)) + PICTURE)
            status, head, body = answer(connection)
            assert status == 503
            assert json.loads(body)["instance"].encode() in head
        connection.sendall(post(10) + b"x" * 10 + post(10) + b"y" * 10)  # one sent ahead of the other's answer
        assert answer(connection)[0] == 503
        front.refusal = refused  # type: ignore[method-assign]
        connection.sendall(HEALTH)
        while (last := answer(connection))[0] == 503:
            pass
        assert last[0] == 200


def test_who_cannot_be_in_time_whatever_the_picture_is_told_before_it_is_sent() -> None:
    with served(Settings(workers=1)) as (port, app, _), connect(port) as connection:
        gateway = app.state.gateway
        gateway.engine.wait_s = 4.0
        assert all(gateway.pipeline.permits.take("somebody") for _ in range(2))
        connection.sendall(post(len(PICTURE), b"tier=standard"))
        status, _, body = answer(connection)
        assert status == 503
        assert json.loads(body)["type"].endswith(":deadline-infeasible")
        assert b'outcome="shed",task="classify",tier="standard"} 1.0' in gateway.metrics.exposition()
        # Who may be in time is asked for the picture; nobody is, while the workers have little to do.
        with connect(port) as patient:
            patient.sendall(post(len(PICTURE), b"latency_budget_ms=9000"))
            patient.settimeout(0.3)
            try:
                answered = patient.recv(1)
            except TimeoutError:
                answered = b""
            assert answered == b""
            patient.settimeout(5.0)
            patient.sendall(PICTURE)
            assert answer(patient)[0] == 200


def test_a_picture_that_is_here_already_is_looked_at_once() -> None:
    """Under load a second look, at the headers alone, would take the event loop as long as the choice itself."""
    with served(Settings(workers=1)) as (port, app, _), connect(port) as connection:
        gateway = app.state.gateway
        looks: list[Ask] = []
        gateway.pipeline.chooser.refuse_early = looks.append
        assert all(gateway.pipeline.permits.take("somebody") for _ in range(2))
        for query in (b"tier=batch", b"model=fake_large&tier=batch"):
            connection.sendall(post(len(PICTURE), query) + PICTURE)
            assert answer(connection)[0] == 200
            assert looks == []
        connection.sendall(post(len(PICTURE)))
        wait_until(lambda: looks)
        connection.sendall(PICTURE)
        assert answer(connection)[0] == 200
        assert len(looks) == 1
