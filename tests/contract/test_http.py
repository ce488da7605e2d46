"""HTTP/1.1 on a bare socket: what is not a request, or never ends, or comes too slowly; against the real server."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import uvicorn

from service.app import create_app
from service.engines.fake import FakeEngine
from service.http_protocol import limited
from service.security_headers import SECURITY_HEADERS
from service.settings import Settings
from tests.cards import classifier
from tests.pictures import encoded, photograph

SETTINGS = Settings(workers=1, header_timeout_s=0.6, body_timeout_s=1.0, max_header_bytes=8192, max_body_bytes=200_000)
PICTURE = encoded(photograph())
POST = b"POST /v1/classify?tier=batch HTTP/1.1\r\nHost: gateway\r\nContent-Type: image/jpeg\r\n"


@contextmanager
def served(settings: Settings) -> Iterator[tuple[int, Any]]:
    """The port of a server with a fake engine in this process, and its app."""
    app = create_app(settings, FakeEngine([classifier()]))
    http = limited(settings, app.state.gateway.metrics)
    config = uvicorn.Config(app, log_config=None, http=http, ws="none", server_header=False, timeout_keep_alive=1)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])))
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield listening.getsockname()[1], app
        finally:
            server.should_exit = True
            thread.join(20)


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[int, Any]]:
    with served(SETTINGS) as opened:
        yield opened


@pytest.fixture
def port(server: tuple[int, Any]) -> int:
    return server[0]


def answers(data: bytes) -> list[tuple[int, dict[str, str], bytes]]:
    """Status, headers (lower case) and body of each answer in what came back."""
    found = []
    while data:
        head, _, rest = data.partition(b"\r\n\r\n")
        lines = head.decode("ascii").split("\r\n")
        status = int(lines[0].split(" ")[1])
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        length = int(headers.get("content-length", 0))
        found.append((status, headers, rest[:length]))
        data = rest[length:]
    return found


def spoken(port: int, *parts: bytes, pause_s: float = 0.0, until_s: float = 8.0) -> bytes:
    """All that comes back till the server hangs up, or for `until_s`; the parts are sent with pauses between them."""
    received = bytearray()
    with socket.create_connection(("127.0.0.1", port), timeout=until_s) as connection:
        for i, part in enumerate(parts):
            time.sleep(pause_s if i else 0.0)
            with suppress(OSError):
                connection.sendall(part)
        with suppress(OSError):
            while chunk := connection.recv(65_536):
                received += chunk
    return bytes(received)


def assert_refused(data: bytes, status: int, code: str, field: str, limit: str | None) -> None:
    """One complete problem, with the headers of all answers, and then the connection was ended."""
    ((found, headers, body),) = answers(data)
    assert found == status, data[:300]
    assert headers["content-type"] == "application/problem+json"
    assert headers["connection"] == "close"
    assert "server" not in headers
    for name, value in SECURITY_HEADERS.items():
        assert headers[name.lower()] == value
    document = json.loads(body)
    assert document["type"].endswith(f":{code}")
    assert document["instance"] == headers["x-request-id"]
    assert (document.get("field"), document.get("limit")) == (field, limit)


def ask(port: int) -> int:
    """The status of a good request on a connection of its own."""
    head = POST + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(PICTURE)
    return answers(spoken(port, head + PICTURE))[0][0]


def test_headers_without_end_are_431(port: int) -> None:
    """Also one header that never ends, and an address that never does: none of them is kept in memory for ever."""
    floods = (
        POST + b"".join(b"X-%d: %s\r\n" % (i, b"v" * 500) for i in range(100)),
        POST + b"X-Long: " + b"v" * 500_000,
        b"GET /" + b"a" * 500_000,
        b"GET /v1/models?" + b"a=1&" * 10_000 + b" HTTP/1.1\r\n\r\n",
    )
    for flood in floods:
        assert_refused(spoken(port, flood), 431, "headers-too-large", "headers", "8192 bytes")
    assert ask(port) == 200


def test_too_many_headers_are_431(port: int) -> None:
    flood = POST + b"".join(b"X-%d: v\r\n" % i for i in range(200)) + b"\r\n"
    assert_refused(spoken(port, flood), 431, "headers-too-large", "headers", "128 headers")


def test_headers_that_do_not_come_are_408(port: int) -> None:
    started_s = time.monotonic()
    assert_refused(spoken(port, b"POST /v1/cl"), 408, "headers-too-slow", "headers", "0.6 s")
    one_by_one = [bytes([byte]) for byte in POST]
    assert_refused(spoken(port, *one_by_one, pause_s=0.02), 408, "headers-too-slow", "headers", "0.6 s")
    assert time.monotonic() - started_s < 8
    assert ask(port) == 200


def test_a_connection_that_says_nothing_is_ended(port: int) -> None:
    assert spoken(port) == b""


def test_headers_that_come_in_pieces_are_headers(port: int) -> None:
    head = POST + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(PICTURE)
    data = spoken(port, head[:20], head[20:60], head[60:], PICTURE[:5000], PICTURE[5000:], pause_s=0.05)
    assert [status for status, _, _ in answers(data)] == [200]


def test_a_connection_is_used_again_and_its_time_begins_anew(port: int) -> None:
    request = POST + b"Content-Length: %d\r\n\r\n" % len(PICTURE) + PICTURE
    data = spoken(port, request, request, POST, pause_s=0.4)
    assert [status for status, _, _ in answers(data)] == [200, 200, 408]


def test_a_chunked_body_without_end_is_413_and_then_cut_off(port: int) -> None:
    """Answered at once; whoever sends on may do so until the time of a body is over, and no longer."""
    chunk = b"8000\r\n" + bytes(0x8000) + b"\r\n"
    started_s = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        sent, cut_off = 0, False
        while time.monotonic() - started_s < 8 and not cut_off:
            try:
                connection.sendall(chunk)
            except OSError:
                cut_off = True
            sent += len(chunk)
            time.sleep(0.002)
    assert cut_off, f"{sent} bytes were taken"
    assert_status = spoken(port, POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 10)
    assert answers(assert_status)[0][0] == 413


@pytest.mark.parametrize("end", ["never", "slowly"])
def test_a_body_that_does_not_come_is_400_in_time(port: int, end: str) -> None:
    head = POST + b"Content-Length: %d\r\n\r\n" % len(PICTURE)
    pieces = [PICTURE[i : i + 1] for i in range(100)] if end == "slowly" else [PICTURE[:99]]
    started_s = time.monotonic()
    ((status, _, body),) = answers(spoken(port, head, *pieces, pause_s=0.03))
    assert (status, json.loads(body)["limit"]) == (400, "1 s")
    assert time.monotonic() - started_s < 6


def test_a_connection_is_ended_when_the_rest_of_a_refused_body_has_come(port: int) -> None:
    head = b"POST /v1/nowhere HTTP/1.1\r\nHost: gateway\r\nContent-Length: 2000\r\n\r\n"
    began_s = time.monotonic()
    data = spoken(port, head + bytes(1000), bytes(1000), pause_s=0.3)
    assert [status for status, _, _ in answers(data)] == [404]
    assert time.monotonic() - began_s < 5, "it was kept for a second request that never came"


def test_a_body_shorter_than_declared_is_400_and_a_longer_one_is_another_request(port: int) -> None:
    head = POST + b"Content-Length: %d\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(head % (len(PICTURE) + 10) + PICTURE)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(65_536)[:12] in (b"", b"HTTP/1.1 400")
    longer = answers(spoken(port, head % (len(PICTURE) - 10) + PICTURE))
    assert [status for status, _, _ in longer] in ([400], [400, 400])
    assert ask(port) == 200


SMUGGLED = {
    "two lengths": b"Content-Length: 5\r\nContent-Length: 6\r\n",
    "two lengths in one": b"Content-Length: 5, 6\r\n",
    "length and chunks": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    "chunks twice over": b"Transfer-Encoding: chunked, chunked\r\n",
    "chunks that are not last": b"Transfer-Encoding: chunked, gzip\r\n",
    "an encoding unknown": b"Transfer-Encoding: xchunked\r\n",
    "a length with a sign": b"Content-Length: +5\r\n",
    "a length below zero": b"Content-Length: -5\r\n",
    "a length in words": b"Content-Length: five\r\n",
    "a length beyond all numbers": b"Content-Length: 99999999999999999999999\r\n",
    "a space before the colon": b"Content-Length : 5\r\n",
    "a folded line": b"X-A: b\r\n Content-Length: 5\r\n",
    "a NUL": b"X-A: a\x00b\r\n",
    "a bare CR": b"X-A: a\rb\r\n",
}


@pytest.mark.parametrize("name", SMUGGLED)
def test_what_could_be_read_in_two_ways_is_refused(port: int, name: str) -> None:
    data = spoken(port, POST + SMUGGLED[name] + b"\r\n" + b"0\r\n\r\nGET /health/live HTTP/1.1\r\n\r\n", until_s=4)
    found = [status for status, _, _ in answers(data)]
    assert found == [400], (found, data[:200])
    assert_refused(data, 400, "invalid-request", "request", None)


@pytest.mark.parametrize(
    "rubbish",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET / HTTP/3.7\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT host:80 HTTP/1.1\r\nHost: host\r\n\r\n",
        b"GET http:// HTTP/1.1\r\n\r\n",
        b"\x00" * 100,
        PICTURE,
    ],
    ids=repr,
)
def test_what_is_no_request_is_400_in_the_shape_of_all_errors(port: int, rubbish: bytes) -> None:
    assert_refused(spoken(port, rubbish, until_s=4), 400, "invalid-request", "request", None)


@pytest.mark.parametrize("protocol", [b"websocket", b"h2c", b"nonsense"])
def test_an_upgrade_is_answered_as_what_it_is(port: int, protocol: bytes) -> None:
    upgrade = b"Connection: Upgrade\r\nUpgrade: " + protocol + b"\r\n"
    data = spoken(port, b"GET /health/live HTTP/1.1\r\nHost: a\r\n" + upgrade + b"\r\n")
    assert answers(data)[0][0] == 200


def test_requests_far_ahead_of_their_answers_are_refused(port: int) -> None:
    data = spoken(port, b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n" * 2000)
    assert len(re.findall(rb"HTTP/1\.1 200", data)) <= 64
    assert ask(port) == 200


def test_a_few_requests_ahead_are_answered_in_their_order(port: int) -> None:
    wanted = [b"/health/live", b"/v1/models", b"/nowhere", b"/health/ready"]
    data = spoken(port, b"".join(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % path for path in wanted))
    assert [status for status, _, _ in answers(data)] == [200, 200, 404, 200]


def test_what_the_protocol_refuses_is_counted(server: tuple[int, Any]) -> None:
    port, app = server
    spoken(port, b"nonsense\r\n\r\n")
    counted = app.state.gateway.metrics.problems.labels("400", "invalid-request")._value.get()
    assert counted >= 1


def test_hundreds_of_connections_that_say_nothing_keep_nobody_out(port: int) -> None:
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(400)]
    try:
        assert ask(port) == 200
    finally:
        for connection in idle:
            connection.close()


def _wait_until(true: Callable[[], bool]) -> None:
    give_up_s = time.monotonic() + 10
    while not true() and time.monotonic() < give_up_s:
        time.sleep(0.01)


def test_a_client_that_hangs_up_while_its_model_runs_leaves_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    """Cancelled is not failed: one line of sixty for each client that leaves is a log that clients write."""
    with served(SETTINGS) as (port, app):
        app.state.gateway.engine.delay_s = 5.0
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(PICTURE) + PICTURE)
                _wait_until(lambda: app.state.gateway.pipeline.in_flight == 1)
            _wait_until(lambda: app.state.gateway.pipeline.in_flight == 0)
        app.state.gateway.engine.delay_s = 0.0
        assert ask(port) == 200
        counted = app.state.gateway.metrics.requests.labels("classify", "batch", "cancelled")._value.get()
        assert app.state.gateway.pipeline.in_flight == 0
    assert counted == 3
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
