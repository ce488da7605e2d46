"""Does memory grow? The gateway at 70 % of the limit for half an hour, its resident memory after every minute.

    python -m benchmarks.peers.soak [--minutes 30]

Growth counts from the end of the second minute, and once more from the end of the fifth: some of what is made at first
use waits for a request that finds the machine idle, which at 70 % may take minutes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.device import RESULTS, circumstances, slug
from benchmarks.peers.__main__ import photographs
from benchmarks.peers.cells import Bench
from benchmarks.peers.contestants import OURS, ROOT, Running, running
from benchmarks.peers.processes import memory_mb

LOAD = 0.7
SETTLED_AFTER_MINUTES = (2, 5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=30)
    parser.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        pictures, _ = photographs(Path(scratch) / "pictures")
        limit_per_s = Bench([], pictures, asked.repository, until_s=0.0).limit_per_s(3.0)
        with running(OURS, asked.repository, Path(scratch) / "log") as server:
            minutes = [_minute(server, pictures, limit_per_s * LOAD, number) for number in range(asked.minutes)]
    growth = growth_percent([minute["memory_mb"] for minute in minutes])
    document = {"circumstances": circumstances(), "rate_per_s": round(limit_per_s * LOAD, 1), "growth_percent": growth}
    path = RESULTS / f"memory-{slug()}.json"
    path.write_text(json.dumps({**document, "minutes": minutes}, indent=1) + "\n", encoding="utf-8")
    said = ", ".join(f"{percent:+} % since minute {minute}" for minute, percent in growth.items())
    print(f"{minutes[-1]['memory_mb']} MB, {said} -> {path}")


def growth_percent(memory_mb: Sequence[float]) -> dict[str, float]:
    """Minute → how much more memory there is at the end than after that minute. memory_mb: one for each minute."""
    return {
        str(minute): round(100 * (memory_mb[-1] / memory_mb[minute - 1] - 1), 2)
        for minute in SETTLED_AFTER_MINUTES
        if minute <= len(memory_mb)
    }


def _minute(server: Running, pictures: Path, rate: float, number: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.peers.load", "--port", str(server.port), "--seed", str(number)]
    command += ["--path", server.contestant.path, "--pictures", str(pictures), "--clients", "256"]
    command += ["--rate", str(rate), "--seconds", "60", "--warm", "0"]
    said = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout)
    found = {
        "memory_mb": round(memory_mb(server.pid), 1),
        "answers": said["answered_in_window"],
        "failed": said["failed"],
    }
    print(f"minute {number + 1}: {found}", flush=True)
    return found


if __name__ == "__main__":
    main()
