"""What the gateway says about itself meanwhile: readiness ten times a second, metrics three times."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import httpx

from benchmarks.scrape import scrape
from tests.gateway_server import GatewayServer

# Counters and gauges that say that something is wrong, or was mended; durations and the like always move.
TELLING = (
    *("vision_problems_total", "vision_model_failures_total", "vision_model_circuit_open", "vision_reroutes_total"),
    *("vision_backend_up", "vision_backend_ejections_total", "vision_backend_retries_total", "vision_model_ready"),
    *("vision_model_refused", "vision_hedges_total"),
)
_SERIES = re.compile(r"^(\w+)(?:\{(.*)\})?$")


@dataclass
class Watch:
    """Runs inside the `with`.

    ready_s   when it was asked (monotonic), and the status     failing  models that it named
    problems  what readiness itself was refused with, by status and code: the server counts them too
    """

    gateway: GatewayServer
    ready_s: list[tuple[float, int]] = field(default_factory=list)
    failing: set[str] = field(default_factory=set)
    problems: Counter[tuple[int, str]] = field(default_factory=Counter)
    series: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._readiness), threading.Thread(target=self._metrics)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _readiness(self) -> None:
        with httpx.Client(timeout=5) as client:
            while not self._over.wait(0.1):
                asked_s = time.monotonic()
                try:
                    answer = client.get(f"{self.gateway.url}/health/ready")
                except httpx.TransportError:
                    self.ready_s.append((asked_s, 0))
                    continue
                self.ready_s.append((asked_s, answer.status_code))
                if answer.status_code == 200:
                    self.failing.update(answer.json()["failing"])
                else:
                    self.problems[answer.status_code, answer.json()["type"].rsplit(":", 1)[-1]] += 1

    def _metrics(self) -> None:
        while not self._over.wait(0.3):
            try:
                self.series.append(scrape(self.gateway))
            except httpx.TransportError:
                continue


def moved(before: dict[str, float], watch: Watch, after: dict[str, float]) -> list[str]:
    """The telling series that changed: counters by how much, gauges by what they were meanwhile.

    Without what the watch itself caused.
    """
    during = watch.series
    counted: Counter[str] = Counter()
    gauges: dict[str, None] = {}
    for name in sorted({*before, *after, *(name for series in during for name in series)}):
        match = _SERIES.match(name)
        if match is None or match[1] not in TELLING:
            continue
        short = _short(match[1], match[2] or "")
        if match[1].endswith("_total"):
            counted[short] += int(after.get(name, 0.0) - before.get(name, 0.0))
            continue
        was = before.get(name, 0.0)
        others = sorted({value for series in during if (value := series.get(name, 0.0)) != was})
        if others:
            gauges[f"{short} {was:g} → {others[-1] if others[-1] > was else others[0]:g}"] = None
    for (status, code), count in watch.problems.items():
        counted[_short("vision_problems_total", f'code="{code}",status="{status}"')] -= count
    return [*(f"{name} +{count}" for name, count in counted.items() if count), *gauges]


def _short(name: str, labels: str) -> str:
    """`vision_problems_total`, with the labels that matter, without the address of a server."""
    kept = [f"{key}={value}" for key, value in re.findall(r'(\w+)="([^"]*)"', labels) if key not in ("backend",)]
    return name.removeprefix("vision_").removesuffix("_total") + (f"{{{', '.join(kept)}}}" if kept else "")
