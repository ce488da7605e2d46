"""A light steady load in a thread of its own: five requests a second over classify, detect and segment."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from benchmarks.arrivals import data_folder
from benchmarks.client import Client, post
from benchmarks.photographs import photographs

RATE_PER_S = 5.0
CLASSIFIER, SMALLER = "efficientnet_lite0", "mobilenet_v2"
DETECTOR, SEGMENTER = "ssdlite_efficientnet_lite0_256", "unet_efficientnet_lite0_192x256"
MODELS = (CLASSIFIER, SMALLER, DETECTOR, SEGMENTER)

_BUDGET = "latency_budget_ms=2000"
# The last names the model that most faults are done to: nobody else may answer in its place.
PATHS = (
    f"/v1/classify?{_BUDGET}",
    f"/v1/detect?{_BUDGET}",
    f"/v1/segment?{_BUDGET}",
    f"/v1/classify?{_BUDGET}&model={CLASSIFIER}",
)

# A kept connection that the server was just giving up: HTTP lets a client ask again on another one, and all do.
_GIVEN_UP = (b"closed the connection", b"ConnectionResetError", b"BrokenPipeError")


@dataclass(frozen=True, slots=True)
class Seen:
    """One answer. `code` is the problem's, `failed` the models that failed before another one answered."""

    sent_s: float
    latency_ms: float
    status: int
    code: str
    failed: tuple[str, ...] = ()


class Load:
    """Runs inside the `with`; `seen` grows, and is complete after it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._ask()), name="load")
        self.seen: list[Seen] = []
        self.sent = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    async def _ask(self) -> None:
        client = Client(self._port)
        pictures = itertools.cycle(_pictures())
        paths = itertools.cycle(PATHS)
        async with asyncio.TaskGroup() as group:
            while not self._over.is_set():
                path = next(paths)
                photograph, scene = next(pictures)
                picture = photograph if path.startswith("/v1/classify") else scene
                self.sent += 1
                group.create_task(self._one(client, post(path, picture, self._port)))
                await asyncio.sleep(1 / RATE_PER_S)
        client.close()

    async def _one(self, client: Client, request: bytes) -> None:
        sent_s = time.monotonic()
        status, body = await client.ask(request)
        if status == 0 and any(said in body for said in _GIVEN_UP):
            status, body = await client.ask(request)
        latency_ms = (time.monotonic() - sent_s) * 1e3
        document: dict[str, Any] = json.loads(body) if status else {"type": body.decode(errors="replace")}
        if status == 200:
            self.seen.append(Seen(sent_s, latency_ms, status, "", tuple(document["routing"]["failed"])))
        else:
            self.seen.append(Seen(sent_s, latency_ms, status, str(document.get("type", "")).rsplit(":", 1)[-1]))


def _pictures() -> list[tuple[bytes, bytes]]:
    """Photographs of things, and as many of scenes. Raises FileNotFoundError where they are absent."""
    scenes = [path.read_bytes() for path in sorted((data_folder() / "coco128" / "images").glob("*.jpg"))]
    return list(zip([photograph.jpeg for photograph in photographs()], itertools.cycle(scenes), strict=False))
