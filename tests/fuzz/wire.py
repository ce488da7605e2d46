"""Bare sockets against the real `vision serve`: what no HTTP client would send, and clients that are slow or leave."""

from __future__ import annotations

import random
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from tests.fuzz.corpus import good
from tests.fuzz.harness import Answer
from tests.fuzz.mutate import harmed

POST = b"POST /v1/classify?latency_budget_ms=30000&model=mobilenet_v2 HTTP/1.1\r\nHost: gateway\r\n"
JPEG = b"Content-Type: image/jpeg\r\n"
# The settings that the server is started with, so that what waits for a limit does not wait long.
SETTINGS = {"VISION_HEADER_TIMEOUT_S": "1", "VISION_BODY_TIMEOUT_S": "2"}
_PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class Spoken:
    """What is sent, with pauses. `hang_up`: nothing is listened to; `silent`: no answer is right, too."""

    kind: str
    parts: list[bytes]
    pause_s: float = 0.0
    hang_up: bool = False
    silent: bool = False


def _whole(body: bytes) -> bytes:
    return POST + JPEG + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def _chunked(pieces: list[bytes], end: bytes = b"0\r\n\r\n") -> bytes:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return POST + JPEG + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + end


def _harmed_request(rng: random.Random) -> Spoken:
    others = [b"\r\n\r\n", b"GET / HTTP/1.1\r\n", b"Transfer-Encoding: chunked\r\n", b"\x00\xff", b": ", b"0\r\n\r\n"]
    return Spoken("wire, harmed requests", [harmed(_whole(good()["jpeg"]), rng, others)], silent=True)


def _harmed_chunks(rng: random.Random) -> Spoken:
    picture = good()["jpeg"]
    cuts = sorted(rng.sample(range(1, len(picture)), 3))
    pieces = [picture[a:b] for a, b in zip([0, *cuts], [*cuts, len(picture)], strict=True)]
    others = [b"\r\n", b"ffffffffffffffff\r\n", b"-1\r\n", b"0x5\r\n", b";" + b"e" * 5_000, b"5;a=b\r\n"]
    return Spoken("wire, harmed chunks", [harmed(_chunked(pieces), rng, others)], silent=True)


def _wrong_length(rng: random.Random) -> Spoken:
    picture = good()["jpeg"]
    length = rng.choice((0, 1, len(picture) - 7, len(picture) + 7, 10_485_760, 10_485_761, 2**31, 2**63, 2**64))
    head = POST + JPEG + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % length
    return Spoken("wire, wrong Content-Length", [head + picture], silent=length < len(picture))


def _endless_chunks(rng: random.Random) -> Spoken:
    size = rng.choice((1, 100, 65_536))
    chunk = b"%x\r\n%b\r\n" % (size, bytes(size))
    flood = chunk * min(200_000, 14_000_000 // len(chunk))
    return Spoken("wire, chunks without end", [_chunked([], end=b"") + flood])


def _header_flood(rng: random.Random) -> Spoken:
    flood = rng.choice(
        (
            b"".join(b"X-%d: v\r\n" % i for i in range(20_000)),
            b"X-Long: " + b"v" * 2_000_000,
            b"X" * 2_000_000,
            b"Cookie: " + b"a=b; " * 40_000 + b"\r\n",
        )
    )
    return Spoken("wire, header floods", [POST + JPEG + flood + b"\r\n\r\n"])


def _long_address(rng: random.Random) -> Spoken:
    query = rng.choice((b"top_k=1&" * 10_000, b"a" * 500_000, b"&".join(b"p%d=%d" % (i, i) for i in range(10_000))))
    return Spoken("wire, 10,000 parameters", [b"POST /v1/classify?" + query + b" HTTP/1.1\r\nHost: a\r\n\r\n"])


def _slow_headers(rng: random.Random) -> Spoken:
    head = POST + JPEG
    return Spoken("wire, slow headers", [head[i : i + 1] for i in range(len(head))], pause_s=rng.choice((0.02, 0.3)))


def _slow_upload(rng: random.Random) -> Spoken:
    """Slower than the limit, or just fast enough."""
    request = _whole(good()["jpeg"])
    step = rng.choice((1, len(request) // 8))
    head = len(request) - len(good()["jpeg"])
    parts = [request[:head], *(request[i : i + step] for i in range(head, len(request), step))]
    return Spoken("wire, slow uploads", parts, pause_s=0.05)


def _vanishing(rng: random.Random) -> Spoken:
    request = _whole(good()["jpeg"])
    return Spoken("wire, clients that vanish", [request[: rng.randint(0, len(request))]], hang_up=True)


def _pipelined(rng: random.Random) -> Spoken:
    one = rng.choice((b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n", _whole(good()["jpeg"])))
    return Spoken("wire, requests ahead of answers", [one * rng.choice((2, 10, 1_000))], silent=True)


def _rubbish(rng: random.Random) -> Spoken:
    kinds = (
        rng.randbytes(rng.randint(1, 5_000)),
        b"\x16\x03\x01" + rng.randbytes(500),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\r\n" * 9_000,
    )
    return Spoken("wire, rubbish", [rng.choice(kinds)], silent=True)


# How often each: what waits for a limit is rare.
_KINDS: tuple[tuple[Callable[[random.Random], Spoken], int], ...] = (
    (_harmed_request, 30),
    (_harmed_chunks, 30),
    (_wrong_length, 10),
    (_endless_chunks, 3),
    (_header_flood, 6),
    (_long_address, 6),
    (_slow_headers, 1),
    (_slow_upload, 1),
    (_vanishing, 10),
    (_pipelined, 3),
    (_rubbish, 10),
)


def spoken(seed: int, number: int) -> Spoken:
    """The number-th of that seed."""
    rng = random.Random(f"wire:{seed}:{number}")
    make = rng.choices([make for make, _ in _KINDS], [weight for _, weight in _KINDS])[0]
    return make(rng)


def speak(port: int, what: Spoken) -> Answer:
    """The first answer that comes back; status 0 if the server hung up without one, or the client did."""
    started_s = time.monotonic()
    received = bytearray()
    with socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE_S) as connection:
        with suppress(OSError):
            for i, part in enumerate(what.parts):
                if what.pause_s and i:
                    time.sleep(what.pause_s)
                connection.sendall(part)
                if what.pause_s and _answered(connection):
                    break
        if what.hang_up:
            # Reset, not closed: as when a machine goes away.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            with suppress(OSError):
                if what.silent:
                    connection.shutdown(socket.SHUT_WR)
                while b"\r\n\r\n" not in received and (data := connection.recv(65_536)):
                    received += data
                received += _rest(connection, received)
    return _answer(bytes(received), time.monotonic() - started_s)


def _answered(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False
    finally:
        connection.settimeout(_PATIENCE_S)


def _rest(connection: socket.socket, received: bytearray) -> bytes:
    answer = _answer(bytes(received), 0.0)
    missing = int(answer.headers.get("content-length", 0)) - len(answer.body)
    rest = bytearray()
    while missing > len(rest) and (data := connection.recv(65_536)):
        rest += data
    return bytes(rest)


def _answer(data: bytes, took_s: float) -> Answer:
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    return Answer(status, headers, body[: int(headers.get("content-length", 0))], took_s)
