"""What the gateway itself costs a request, and whether anything keeps its event loop from the others."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.peers.contestants import OURS, ROOT, Contestant, Running, running
from benchmarks.server import only

LOAD = 0.7


def own_cost(repository: Path, pictures: Path, log: Path, limit_per_s: float, seconds: float) -> dict[str, Any]:
    """The client's latency less the answer's decode, queue and infer, at 70 % of the limit; the event loop's too."""
    with running(OURS, repository, log) as server:
        said = _load(server, pictures, seconds, "--clients", "256", "--rate", str(limit_per_s * LOAD), "--timings")
    own_ms = sorted(said["own_ms"])
    found = {f"p{q}_ms": round(own_ms[min(len(own_ms) - 1, len(own_ms) * q // 100)], 3) for q in (50, 95, 99)}
    return {**found, "answers": len(own_ms), "failed": said["failed"], **_loop(repository, pictures, log, seconds)}


def _loop(repository: Path, pictures: Path, log: Path, seconds: float) -> dict[str, Any]:
    with TemporaryDirectory() as scratch, only([OURS.model], repository) as folder:
        stats = Path(scratch) / "stats.json"
        watched = Contestant(
            OURS.name,
            OURS.title,
            (sys.executable, "-m", "benchmarks.peers.watched", "--port", "{port}"),
            path=OURS.path,
            ready=OURS.ready,
            environment={
                "BENCH_WATCH": str(stats),
                "VISION_REPOSITORY": str(folder),
                "VISION_LOG_LEVEL": "error",
            },
        )
        with running(watched, repository, log) as server:
            _load(server, pictures, 1.0, "--clients", "32")
            stats.with_suffix(".armed").touch()
            time.sleep(0.5)
            _load(server, pictures, seconds, "--clients", "32")
            time.sleep(0.5)
            found: dict[str, Any] = json.loads(stats.read_text(encoding="utf-8"))
    return found


def _load(server: Running, pictures: Path, seconds: float, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.peers.load", "--port", str(server.port)]
    command += ["--path", server.contestant.path, "--pictures", str(pictures), "--seconds", str(seconds), *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    said: dict[str, Any] = json.loads(ran.stdout)
    return said
