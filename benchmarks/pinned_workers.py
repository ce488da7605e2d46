"""Does it pay that each worker stays on its core? The same gateway with and without, in turns, alone and beside others.

    python -m benchmarks.pinned_workers [--rounds 5] [--seconds 4]

"Beside others" is one process that never rests. Writes `benchmarks/results/pinned-workers-<device>.json`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.device import RESULTS, circumstances, slug
from benchmarks.peers.__main__ import photographs
from benchmarks.peers.cells import Bench, Level
from benchmarks.peers.contestants import OURS, ROOT, running

FREE, PINNED = "free", "pinned"
CLIENTS = (1, 8, 32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    asked = parser.parse_args()
    cells: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        pictures, _ = photographs(Path(scratch) / "pictures")
        servers = []
        for name, pinned in ((FREE, "false"), (PINNED, "true")):
            ours = replace(OURS, name=name, environment={"VISION_PIN_WORKERS": pinned})
            servers.append(stack.enter_context(running(ours, asked.repository, Path(scratch) / name)))
        bench = Bench(servers, pictures, asked.repository, until_s=0.0)
        for server in servers:
            stack.callback(server.go)  # none is left stopped
        for turn in range(asked.rounds):
            for busy in (False, True):
                with busy_neighbour() if busy else contextlib.nullcontext():
                    for clients in CLIENTS:
                        level = Level("closed", clients=clients)
                        cells += [{"busy": busy, **row} for row in bench.level(level, asked.seconds, turn)]
                        print(f"round {turn}, {'beside others' if busy else 'alone'}, {level.name}", flush=True)
    document = {"circumstances": circumstances(), "summary": summary(cells), "cells": cells}
    path = RESULTS / f"pinned-workers-{slug()}.json"
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    for row in document["summary"]:
        print(json.dumps(row))
    print(path)


@contextlib.contextmanager
def busy_neighbour() -> Iterator[None]:
    """A process that wants a whole core, of the usual priority."""
    neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        neighbour.kill()
        neighbour.wait()


def summary(cells: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each load: answers a second of both over the limit in the same round, and latencies; medians."""
    rows = []
    for busy, level in dict.fromkeys((cell["busy"], cell["level"]) for cell in cells):
        row: dict[str, Any] = {"busy": busy, "level": level}
        here = [cell for cell in cells if (cell["busy"], cell["level"]) == (busy, level)]
        limits = {cell["round"]: cell["per_s"] for cell in here if cell["contestant"] == "limit"}
        for name in (FREE, PINNED):
            of_it = [cell for cell in here if cell["contestant"] == name]
            row[name] = {
                "of_limit": round(statistics.median(cell["per_s"] / limits[cell["round"]] for cell in of_it), 3),
                "p50_ms": round(statistics.median(cell["p50_ms"] for cell in of_it), 1),
                "p99_ms": round(statistics.median(cell["p99_ms"] for cell in of_it), 1),
            }
        rows.append(row)
    return rows


def table(document: dict[str, Any]) -> str:
    """The summary in Markdown, with what it was measured on."""
    about = document["circumstances"]
    heading = [
        f"{about['device']}, {about['date']}; onnxruntime {about['onnxruntime-gpu']}, Python {about['python']}.",
        "",
        "| | clients | of the limit: free | pinned | p50, ms: free | pinned | p99, ms: free | pinned |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*heading, *(_line(row) for row in document["summary"])])


def _line(row: dict[str, Any]) -> str:
    pairs = [
        f"{row[FREE][what]:.{digits}f} | {row[PINNED][what]:.{digits}f}"
        for what, digits in (("of_limit", 2), ("p50_ms", 1), ("p99_ms", 1))
    ]
    where = "beside a busy process" if row["busy"] else "alone"
    return f"| {where} | {row['level'].split()[0]} | {' | '.join(pairs)} |"


if __name__ == "__main__":
    main()
