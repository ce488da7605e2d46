"""The routing benchmark on the real server, with the real models, on this machine.

    python -m benchmarks.routing [--budget 100] [--seconds 4.5] [--processes poisson gamma-64] [--loads 0.7 1.5]

First the capacity (closed loop), then arrivals are replayed open loop at shares of the fastest model's capacity; then a
mix of tiers; then a load that rises and falls under one budget of 50 ms. Client and server share the machine. Results:
results/routing-<device>.json and .csv; `python -m benchmarks.report` makes the tables and plots, those of the docs too.
Twenty minutes in all, if nobody else uses the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

from benchmarks.arrivals import PROCESSES, Arrivals, arrivals, missing
from benchmarks.client import Client, Sent
from benchmarks.device import RESULTS, circumstances, slug
from benchmarks.photographs import Photograph, photographs
from benchmarks.real_cells import FASTEST, MODELS, POLICIES, asked, asked_tiers, capacity, outcome, outcomes, replay
from benchmarks.scores import score
from benchmarks.server import Machine, Server, metrics, only, serving
from service.entry_config import read_entry

LOADS = (0.3, 0.7, 1.0, 1.5)
TIERS_MS = {"interactive": 50.0, "standard": 150.0, "relaxed": 500.0}
WARM_UP_S = 0.8
# Ours learns how likely a burst is; the others have nothing to learn. So long it has seen traffic of the kind before.
LEARNS_FOR_S = 10.0
CAPACITY_ROUNDS = 3
# Processor time of others, % of server and client's, from which on a cell is measured again, twice at most.
DISTURBED_PERCENT = 10.0
COVERAGE = "vision_prediction_coverage_ratio"
# Rate over time of the run that shows the choice moving: (seconds, share of the fastest model's capacity).
STEPS = ((8.0, 0.2), (8.0, 0.9), (8.0, 1.4), (12.0, 0.2))


class Bench:
    """One server, one client, and the document that grows."""

    def __init__(self, server: Server, repository: Path, asked_for: argparse.Namespace) -> None:
        self.port = server.port
        self.admin_port = server.admin_port
        self.machine = Machine([server.pid, os.getpid()])
        self.budget_ms: float = asked_for.budget
        self.seconds: float = asked_for.seconds
        self.processes = [process for process in asked_for.processes if not _said_missing(process)]
        self.loads: list[float] = asked_for.loads
        self.policies: list[str] = asked_for.policies
        self.out: Path = asked_for.out
        self.album: list[Photograph] = photographs()
        cards = [read_entry(repository / name) for name in MODELS]
        self.accuracies = {card.name: card.accuracy.value for card in cards if card.accuracy}
        self.client = Client(server.port)
        self.document: dict[str, Any] = {"circumstances": circumstances(), "budget_ms": self.budget_ms, "cells": []}

    async def run(self) -> None:
        await self.client.open(32)
        await capacity(self.client, self.port, FASTEST, self.album, workers=2)
        rounds = [
            [await capacity(self.client, self.port, model, self.album, workers=2) for model in MODELS]
            for _ in range(CAPACITY_ROUNDS)
        ]
        # Whatever else the machine does can only slow a round down.
        best = np.max(rounds, axis=0)
        self.document["capacity_per_s"] = {
            model: round(float(rate), 1) for model, rate in zip(MODELS, best, strict=True)
        }
        print("capacity", self.document["capacity_per_s"], flush=True)
        for cell in self._cells():
            self.document["cells"].append(await self._undisturbed(*cell))
            self._save()
        self.document["tiers"] = [
            row
            for process in ("poisson", "trace-code")
            for load in (0.7, 1.5)
            for row in await self._tiers(process, load)
        ]
        self._save()
        self.document["steps"] = await self._steps()
        self._save()

    def _cells(self) -> Iterator[tuple[str, float, str]]:
        for process in self.processes:
            for load in self.loads:
                for policy in self.policies:
                    yield process, load, policy

    async def _undisturbed(self, process: str, load: float, policy: str) -> dict[str, Any]:
        """The cell, again if somebody else used the machine meanwhile; not for ever: `others_cpu` says how it was."""
        for again in (True, True, False):
            before = self.machine.used()
            row = await self._cell(process, load, policy)
            row["others_cpu"] = self.machine.others_since(before)
            print(process, load, policy, row["effective_accuracy"], row["models"], row["others_cpu"], flush=True)
            if row["others_cpu"] <= DISTURBED_PERCENT or not again:
                break
        return row

    async def _cell(self, process: str, load: float, policy: str) -> dict[str, Any]:
        if policy == "ours":
            before = self._arrivals(process, load, LEARNS_FOR_S, seed=101)
            await self._replay(before, asked(policy, len(before.times_s), self.budget_ms, len(self.album), seed=102))
        came = self._arrivals(process, load, self.seconds + WARM_UP_S)
        wishes = asked(policy, len(came.times_s), self.budget_ms, len(self.album), seed=2)
        sents = await self._replay(came, wishes)
        results = outcomes(sents, wishes, self.album, self.accuracies)
        scored = [o for o, sent in zip(results, sents, strict=True) if sent.due_s >= WARM_UP_S]
        row = {"process": process, "load": load, "policy": policy, **score(scored, self.seconds).flat()}
        row |= {"cv2": round(came.cv2, 1), "squeezed": round(came.squeezed, 2), **_server_side(sents, self.admin_port)}
        return row

    async def _tiers(self, process: str, load: float) -> list[dict[str, Any]]:
        if missing(process):
            return []
        came = self._arrivals(process, load, self.seconds + WARM_UP_S)
        wishes = asked_tiers(TIERS_MS, len(came.times_s), len(self.album), seed=3)
        results = outcomes(await self._replay(came, wishes), wishes, self.album, self.accuracies)
        rows = []
        for tier, budget_ms in TIERS_MS.items():
            of_tier = [o for o in results if o.budget_ms == budget_ms]
            rows.append({"process": process, "load": load, "tier": tier, **score(of_tier, came.duration_s).flat()})
        return rows

    async def _steps(self) -> list[dict[str, Any]]:
        """One request each: when it was due, who answered, how long that took, and how long it was said to take."""
        times, starts_s = [], 0.0
        for number, (seconds, load) in enumerate(STEPS):
            rate = load * self.document["capacity_per_s"][FASTEST]
            times.append(starts_s + arrivals("poisson", rate, seconds, seed=number).times_s)
            starts_s += seconds
        came = Arrivals("steps", np.concatenate(times), starts_s)
        wishes = asked("ours", len(came.times_s), 50.0, len(self.album), seed=4)
        return [self._step(sent) for sent in await self._replay(came, wishes)]

    def _step(self, sent: Sent) -> dict[str, Any]:
        seen = outcome(sent, 50.0, -1, self.accuracies)
        predicted = json.loads(sent.body)["routing"]["predicted_ms"] if sent.status == 200 else None
        return {
            "due_s": round(sent.due_s, 3),
            "status": sent.status,
            "model": seen.model,
            "latency_ms": round(sent.latency_ms, 2),
            "predicted_ms": predicted,
        }

    def _arrivals(self, process: str, load: float, seconds: float, seed: int = 1) -> Arrivals:
        rate = load * float(self.document["capacity_per_s"][FASTEST])
        return arrivals(process, rate, seconds, seed=seed)

    async def _replay(self, came: Arrivals, wishes: Any) -> list[Sent]:
        sents = await replay(self.client, self.port, came, wishes, self.album)
        await asyncio.sleep(0.2)
        return sents

    def _save(self) -> None:
        self.out.with_suffix(".json").write_text(json.dumps(self.document, indent=1) + "\n", encoding="utf-8")
        cells = self.document["cells"]
        with self.out.with_suffix(".csv").open("w", newline="", encoding="utf-8") as lines:
            lines.write("".join(f"# {name}: {value}\n" for name, value in self.document["circumstances"].items()))
            table = csv.DictWriter(lines, cells[0].keys())
            table.writeheader()
            table.writerows(cells)


def _server_side(sents: list[Sent], admin_port: int) -> dict[str, float]:
    return {
        "sent_late_p99_ms": round(float(np.percentile([sent.late_ms for sent in sents], 99)), 2),
        "coverage": round(metrics(admin_port).get(COVERAGE, 0.0), 4),
    }


def _said_missing(process: str) -> bool:
    why = missing(process)
    if why:
        print(why)
    return why is not None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repository", type=Path, default=Path("model_repository"))
    parser.add_argument("--budget", type=float, default=100.0, help="latency budget of every request, ms")
    parser.add_argument(
        "--seconds", type=float, default=4.5, help="length of a cell that counts, after a short warm-up"
    )
    parser.add_argument("--processes", nargs="+", choices=PROCESSES, default=list(PROCESSES))
    parser.add_argument("--loads", nargs="+", type=float, default=list(LOADS), help="of the fastest model's capacity")
    parser.add_argument("--policies", nargs="+", choices=POLICIES, default=list(POLICIES))
    parser.add_argument("--out", type=Path, default=RESULTS / f"routing-{slug()}", help="without suffix")
    asked_for = parser.parse_args()
    asked_for.out.parent.mkdir(exist_ok=True)
    started_s = time.monotonic()
    with only(MODELS, asked_for.repository) as repository, serving(repository) as server:
        uvloop.run(Bench(server, asked_for.repository, asked_for).run())
    print(f"{(time.monotonic() - started_s) / 60:.1f} minutes -> {asked_for.out}.json, .csv")


if __name__ == "__main__":
    main()
