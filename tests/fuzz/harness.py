"""Sends cases through the whole app with the real embedded engine, and says what is wrong with an answer."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import math
import resource
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from service.app import create_app
from service.errors import VisionError
from service.problem_document import PROBLEM_MEDIA_TYPE, TYPE_PREFIX
from service.settings import Settings
from tests.fuzz.cases import BUDGET, Case
from tests.fuzz.corpus import good
from tests.gateway_server import require_models
from tests.write_docs import client_errors

CODES: dict[str, type[VisionError]] = {err.code: err for err in client_errors()}
# What a gateway may say of itself; every other 5xx is a defect.
DECLARED = frozenset({503, 504})
# An address that is not there has no field to name.
NAMELESS = frozenset({"not-found", "method-not-allowed"})
LIMITED = frozenset({408, 413, 429, 431})
# No answer may take longer, on a machine that does other things too; the slowest is in the table.
SLOWEST_S = 20.0


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    took_s: float


@dataclass
class Defects:
    """What was wrong, in the order it was found; logged errors are part of it."""

    found: list[str] = field(default_factory=list)

    def judge(self, name: str, answer: Answer) -> None:
        self.found += [f"{name}: {complaint}" for complaint in complaints(answer)]


def complaints(answer: Answer) -> Iterator[str]:
    """Everything that the answer breaks of what is promised."""
    if answer.took_s > SLOWEST_S:
        yield f"took {answer.took_s:.1f} s"
    if answer.status >= 500 and answer.status not in DECLARED:
        yield f"{answer.status} {answer.body[:300]!r}"
    if answer.status < 300:
        if answer.headers.get("content-type") == "application/json" and answer.body:
            yield from _of_numbers(json.loads(answer.body))
        return
    if answer.status in (307, 308):
        return
    if answer.headers.get("content-type") != PROBLEM_MEDIA_TYPE:
        yield f"{answer.status} is no problem document: {answer.headers.get('content-type')} {answer.body[:100]!r}"
        return
    if answer.body:  # there is none to HEAD
        yield from _of_problem(answer, json.loads(answer.body))


def _of_problem(answer: Answer, document: dict[str, Any]) -> Iterator[str]:
    code = str(document.get("type", "")).removeprefix(TYPE_PREFIX)
    if code not in CODES or CODES[code].status != answer.status or document.get("status") != answer.status:
        yield f"{answer.status} has the undeclared type {code!r}"
    if len(str(document.get("detail"))) > 400:
        yield f"a detail of {len(str(document.get('detail')))} characters"
    if 400 <= answer.status < 500:
        if code not in NAMELESS and not document.get("field"):
            yield f"{code} names no field: {document.get('detail')}"
        if answer.status in LIMITED and not document.get("limit"):
            yield f"{code} names no limit: {document.get('detail')}"
        if len(str(document.get("field"))) > 200:
            yield f"a field of {len(str(document['field']))} characters"


def _of_numbers(value: Any) -> Iterator[str]:
    if isinstance(value, float) and not math.isfinite(value):
        yield "a number that is none"
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for child in children:
        yield from _of_numbers(child)


@contextmanager
def errors_logged(defects: Defects) -> Iterator[None]:
    """An error in the log is a defect, whatever was answered."""

    class Listen(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            defects.found.append(f"logged: {record.getMessage()} {record.exc_info[1] if record.exc_info else ''!r}")

    listen = Listen(logging.ERROR)
    logging.getLogger().addHandler(listen)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(listen)


@asynccontextmanager
async def opened(repository: Path | None = None) -> AsyncIterator[FastAPI]:
    """The app over the real models, running, as `vision serve` makes it."""
    app = create_app(Settings(repository=repository or require_models(), workers=2, probe_after_s=0, access_log=False))
    async with app.router.lifespan_context(app):
        for _ in range(600):
            if app.state.gateway.fleet.ready:
                break
            await asyncio.sleep(0.05)
        yield app


async def send(app: FastAPI, case: Case) -> Answer:
    """The app's answer to the case, as a server would hand it in: the body in pieces, then the client waits."""
    pieces = [case.content[i : i + 65_536] for i in range(0, len(case.content), 65_536)] or [b""]
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": piece, "more_body": i < len(pieces) - 1} for i, piece in enumerate(pieces)
    ]
    answered = asyncio.Event()
    status, headers, body = 0, {}, bytearray()

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop(0)
        await answered.wait()
        return {"type": "http.disconnect"}

    async def reply(message: Any) -> None:
        nonlocal status, headers
        if message["type"] == "http.response.start":
            status = message["status"]
            headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in message["headers"]}
        else:
            body.extend(message.get("body", b""))
            if not message.get("more_body"):
                answered.set()

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": case.method,
        "scheme": "http",
        "path": case.path,
        "raw_path": case.path.encode("utf-8", "surrogateescape"),
        "root_path": "",
        "query_string": case.query,
        "headers": case.headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    started_s = time.monotonic()
    try:
        await app(scope, receive, reply)
    except Exception as err:  # the app raises what it has answered with 500, and what it could not answer at all
        if status == 0:
            status, body = 599, bytearray(repr(err).encode())
    return Answer(status, headers, bytes(body), time.monotonic() - started_s)


async def still_well(app: FastAPI, defects: Defects, expected: bytes | None = None) -> bytes:
    """A good picture's predictions; a defect if they are not what they were, or if anything is left in flight."""
    query = f"{BUDGET}&model=mobilenet_v2"
    case = Case(
        "check", "check", "/v1/classify", query.encode(), good()["jpeg"], headers=[(b"content-type", b"image/jpeg")]
    )
    answer = await send(app, case)
    gateway = app.state.gateway
    if gateway.pipeline.in_flight:
        defects.found.append(f"{gateway.pipeline.in_flight} permits are still held")
    predictions = json.dumps(json.loads(answer.body).get("predictions")).encode()
    if answer.status != 200 or (expected is not None and predictions != expected):
        defects.found.append(f"a good picture is no longer answered as before: {answer.status} {answer.body[:200]!r}")
    return predictions


def resident_mb() -> float:
    """Resident memory of this process now, garbage collected."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 1e6
