"""What the routes cost: a request's processor time from its first ASGI message to its last, with nothing behind them.

    python -m benchmarks.overhead [--requests 2000] [--json FILE]

The fake engine's models, but the pipeline answers at once with an answer it already has: what remains is reading the
query and the headers, making the documents and writing them. Routes take turns, so that a busy moment hits all alike.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
from starlette.types import ASGIApp, Message

from benchmarks.device import device
from service.app import create_app
from service.ask import Ask
from service.bodies import Picture
from service.engines.fake import FakeEngine
from service.gateway import Gateway
from service.hang_up import HangUp, tell_of
from service.pipeline import Served
from service.settings import Settings
from tests.cards import classifier, detector
from tests.pictures import encoded, photograph

JPEG = encoded(photograph())
WISHES = b"model=fake_large&latency_budget_ms=2000&top_k=3&late=return&priority=1"
PIXELS = np.full((1, 32, 32, 3), 128, np.uint8)
_INPUT = {"name": "image", "shape": [1, 32, 32, 3], "datatype": "UINT8", "parameters": {"binary_data_size": 3072}}
_OUTPUT = {"name": "probabilities", "parameters": {"binary_data": True}}
TENSOR = json.dumps({"inputs": [_INPUT], "outputs": [_OUTPUT]}).encode()
Request = tuple[Literal["GET", "POST"], str, bytes, bytes]
REQUESTS: dict[str, Request] = {
    "GET /health/live": ("GET", "/health/live", b"", b""),
    "POST /v1/classify": ("POST", "/v1/classify", b"", JPEG),
    "POST /v1/classify, 5 parameters": ("POST", "/v1/classify", WISHES, JPEG),
    "POST /v1/detect": ("POST", "/v1/detect", b"", JPEG),
    "POST /v1/embed": ("POST", "/v1/embed", b"", JPEG),
    "POST /v1/route": ("POST", "/v1/route", b"", b""),
    # Not answered at once: permit, admission and the fake engine are part of it.
    "POST /v2/…/infer, bytes": ("POST", "/v2/models/fake_large/infer", b"", TENSOR + PIXELS.tobytes()),
    "POST /v1/classify, refused": ("POST", "/v1/classify", b"top_k=0", JPEG),
}


def scope_of(request: Request) -> dict[str, Any]:
    method, path, query, body = request
    headers = [(b"host", b"gateway"), (b"content-type", b"image/jpeg"), (b"content-length", str(len(body)).encode())]
    if path.endswith("/infer"):
        headers.append((b"inference-header-content-length", str(len(TENSOR)).encode()))
    headers += [(b"accept", b"*/*"), (b"accept-encoding", b"gzip, deflate"), (b"user-agent", b"benchmarks")]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8080),
        "state": {},
    }


async def call(app: ASGIApp, request: Request) -> tuple[int, float]:
    """The status, and the seconds of processor time it took."""
    status, sent = 0, [False]
    scope = scope_of(request)
    tell_of(scope, HangUp())  # as our own server does

    async def receive() -> Message:
        if sent[0]:
            await asyncio.sleep(3600)  # the client stays until it is answered
        sent[0] = True
        return {"type": "http.request", "body": request[3], "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status
        status = message.get("status", status)

    started_s = time.thread_time()
    await app(scope, receive, send)
    return status, time.thread_time() - started_s


def answer_at_once(gateway: Gateway) -> None:
    """From now on the pipeline gives each kind of request the answer it gave the first time."""
    really, known = gateway.pipeline.serve, dict[tuple[str, ...], Served]()

    async def serve(pictures: list[Picture], ask: Ask) -> Served:
        kind = (ask.task, *ask.outputs)
        if kind not in known:
            known[kind] = await really(pictures, ask)
        return known[kind]

    gateway.pipeline.serve = serve  # type: ignore[method-assign]


async def measure(requests: int) -> dict[str, dict[str, float]]:
    """Route → microseconds: median, and the 10th and 90th percentile."""
    cards = [classifier("fake_large"), classifier("fake_small", accuracy=70.0), detector()]
    app = create_app(Settings(workers=1, probe_after_s=0, max_budget_ms=3_600_000), FakeEngine(cards))
    took_s: dict[str, list[float]] = {name: [] for name in REQUESTS}
    async with app.router.lifespan_context(app):
        answer_at_once(app.state.gateway)
        for turn in range(requests + 50):
            for name, request in REQUESTS.items():
                status, seconds = await call(app, request)
                if status != (422 if "refused" in name else 200):
                    raise SystemExit(f"{name} was answered with {status}")
                if turn >= 50:
                    took_s[name].append(seconds)
    return {
        name: {
            "median_us": round(statistics.median(seconds) * 1e6, 1),
            "p10_us": round(float(np.quantile(seconds, 0.1)) * 1e6, 1),
            "p90_us": round(float(np.quantile(seconds, 0.9)) * 1e6, 1),
        }
        for name, seconds in took_s.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2000, help="of each route")
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    options = parser.parse_args()
    measured = asyncio.run(measure(options.requests))
    print(f"µs a request on {device()}\n")
    print(f"{'':34}{'median':>9}{'p10':>9}{'p90':>9}")
    for name, row in measured.items():
        print(f"{name:34}" + "".join(f"{us:9.1f}" for us in row.values()))
    if options.json:
        options.json.write_text(json.dumps({"device": device(), "requests": measured}, indent=1) + "\n")


if __name__ == "__main__":
    main()
