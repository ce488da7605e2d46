"""Cells: one contestant under one load for a few seconds, in turns, and again where somebody else was at work."""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.peers.contestants import MODEL, ROOT, Running
from benchmarks.peers.processes import memory_mb, usage

Row = dict[str, Any]

CLIENTS = (1, 4, 8, 16, 32, 64)
SHARES = (50, 70, 90)
LIMIT = "limit"
MOST_CONNECTIONS = 256
WARM_S = 0.5
# A cell is disturbed if others used more than this part of all cores meanwhile, and is measured again.
DISTURBED = 0.04
REPEATS = 2


@dataclass(frozen=True, slots=True)
class Level:
    """closed: `clients` at once. open: Poisson arrivals at `share` per cent of the limit, `rate` a second."""

    kind: str
    clients: int = 0
    share: int = 0
    rate: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.clients} clients" if self.kind == "closed" else f"{self.share} %"


@dataclass(frozen=True, slots=True)
class Plan:
    seconds: float
    rounds: int
    clients: Sequence[int] = CLIENTS
    shares: Sequence[int] = SHARES

    def cells(self, servers: int) -> int:
        return self.rounds * (len(self.clients) * (servers + 1) + len(self.shares) * servers)

    def levels(self, limit_per_s: float) -> list[Level]:
        closed = [Level("closed", clients=clients) for clients in self.clients]
        return closed + [Level("open", share=share, rate=limit_per_s * share / 100) for share in self.shares]


class Bench:
    """Measures the whole plan; what is disturbed is repeated only if the rest will still be through by `until_s`."""

    def __init__(self, servers: Sequence[Running], pictures: Path, repository: Path, until_s: float) -> None:
        self._servers = servers
        self._pictures = pictures
        self._model = repository.resolve() / MODEL / "1" / "model.onnx"
        self._until_s = until_s
        self._left = 0
        self._attempts_s: list[float] = []
        for server in servers:
            server.pause()

    def limit_per_s(self, seconds: float) -> float:
        """Median of three: what open loop is measured by."""
        return statistics.median(float(self._repeated(lambda: self._limit(seconds))["per_s"]) for _ in range(3))

    def rows(self, plan: Plan, limit_per_s: float) -> Iterator[Row]:
        """One row a cell. Of each round's level the limit comes first, then everybody in another order each time."""
        self._left = plan.cells(len(self._servers))
        for turn in range(plan.rounds):
            for level in plan.levels(limit_per_s):
                yield from self.level(level, plan.seconds, turn)

    def level(self, level: Level, seconds: float, turn: int) -> Iterator[Row]:
        """One round of it: in closed loop the limit first, then everybody in this round's order."""
        about = {"round": turn, "kind": level.kind, "level": level.name}
        if level.kind == "closed":
            yield {**about, "contestant": LIMIT, **self._repeated(lambda: self._limit(seconds))}
        order = list(self._servers)
        random.Random(turn * 100 + level.clients + level.share).shuffle(order)
        for server in order:
            cell = self._repeated(partial(self._cell, server, level, seconds, turn))
            yield {**about, "contestant": server.contestant.name, **cell}

    def _repeated(self, measure: Callable[[], Row]) -> Row:
        """The least disturbed of up to 1 + REPEATS measurements."""
        best: Row | None = None
        self._left -= 1
        for attempt in range(1 + REPEATS):
            began_s = time.monotonic()
            cell: Row = measure()
            self._attempts_s.append(time.monotonic() - began_s)
            cell["attempts"] = attempt + 1
            if best is None or cell["others"] < best["others"]:
                best = {**cell}
            best["attempts"] = attempt + 1
            rest_s = max(0, self._left) * statistics.mean(self._attempts_s)
            if best["others"] <= DISTURBED or time.monotonic() + rest_s > self._until_s:
                break
        assert best is not None
        return best

    def _cell(self, server: Running, level: Level, seconds: float, seed: int) -> Row:
        server.go()
        command = [sys.executable, "-m", "benchmarks.peers.load", "--port", str(server.port), "--seed", str(seed)]
        command += ["--path", server.contestant.path, "--pictures", str(self._pictures), "--seconds", str(seconds)]
        command += ["--warm", str(WARM_S), *(["--form"] if server.contestant.form else [])]
        if level.kind == "closed":
            command += ["--clients", str(level.clients)]
        else:
            command += ["--clients", str(MOST_CONNECTIONS), "--rate", str(level.rate)]
        before = usage(server.pid)
        said = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout)
        after = usage(server.pid)
        memory = memory_mb(server.pid)
        server.pause()
        return {
            **_summary(said, seconds),
            "cpu_ms": _per(after.server_s - before.server_s, said),
            "client_cpu_ms": _per(said["client_cpu_s"], said),
            "sent_late_p99_ms": said["sent_late_p99_ms"],
            "memory_mb": round(memory, 1),
            "others": after.others_since(before),
        }

    def _limit(self, seconds: float) -> Row:
        environment = {**os.environ, "BENCH_MODEL": str(self._model)}
        command = [sys.executable, "-m", "benchmarks.peers.limit", str(self._pictures), str(seconds), str(WARM_S)]
        before = usage()
        ran = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=ROOT)
        after = usage()
        said = json.loads(ran.stdout)
        return {
            **_summary(said, seconds),
            "cpu_ms": _per(said["server_cpu_s"], said),
            "others": after.others_since(before),
        }


def _summary(said: Row, seconds: float) -> Row:
    latencies_ms = sorted(said["latencies_ms"])

    def quantile(share: float) -> float | None:
        return (
            round(latencies_ms[min(len(latencies_ms) - 1, int(share * len(latencies_ms)))], 3) if latencies_ms else None
        )

    return {
        "per_s": round(said["answered_in_window"] / seconds, 2),
        "p50_ms": quantile(0.50),
        "p95_ms": quantile(0.95),
        "p99_ms": quantile(0.99),
        "answers": len(latencies_ms),
        "failed": said.get("failed", 0),
        **({"first_failure": said["first_failure"][:200]} if said.get("failed") else {}),
    }


def _per(cpu_s: float, said: Row) -> float:
    """Milliseconds for each answer, warm-up included on both sides."""
    answers = said["answered_in_window"] * said["lasted_s"] / (said["lasted_s"] - WARM_S)
    return round(1e3 * cpu_s / max(1.0, float(answers)), 3)
