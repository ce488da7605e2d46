"""This gateway beside plain FastAPI, LitServe and BentoML: same model file, same pictures, same machine, in turns.

    make bench                            everything, at most 25 minutes
    python -m benchmarks.peers --quick    the same with fewer, shorter cells: about 4 minutes; results/peers-quick.*

Writes results/peers-<device>.json, .md and .png. docs/benchmarks.md says how, and holds the tables.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.arrivals import data_folder
from benchmarks.device import circumstances, slug
from benchmarks.peers import extras, report, summary
from benchmarks.peers.cells import Bench, Plan
from benchmarks.peers.contestants import CONTESTANTS, PEERS, ROOT, Running, running
from benchmarks.peers.own_cost import own_cost
from benchmarks.peers.same import agreement
from benchmarks.peers.triton_path import available, triton_path

FULL = Plan(seconds=3.0, rounds=3)
QUICK = Plan(seconds=1.5, rounds=1, clients=(1, 8, 32), shares=(70,))
FULL_S, QUICK_S = 25 * 60, 5 * 60
# Kept for what comes after the race.
EXTRAS_S = 330
LONGER_SIDE_PX = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    asked = parser.parse_args()
    if not PEERS.is_dir():
        sys.exit("there is no .venv-peers: `make peers-install`")
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        document = measure(asked.repository, Path(scratch), quick=asked.quick, began_s=began_s)
    document["took_s"] = round(time.monotonic() - began_s)
    path = report.write(document, "peers-quick" if asked.quick else f"peers-{slug()}")
    print(report.tables(document))
    print(f"{document['took_s']} s -> {path}")


def measure(repository: Path, scratch: Path, *, quick: bool, began_s: float) -> dict[str, Any]:
    """The whole document."""
    plan, log = QUICK if quick else FULL, scratch / "log"
    pictures, about_pictures = photographs(scratch / "pictures")
    with _all_running(repository, scratch) as servers:
        agreed = {server.contestant.name: agreement(server, pictures, repository) for server in servers}
        until_s = began_s + (QUICK_S - 120 if quick else FULL_S - EXTRAS_S - 60)
        bench = Bench(servers, pictures, repository, until_s)
        limit_per_s = bench.limit_per_s(plan.seconds)
        cells = []
        total = plan.cells(len(servers))
        for cell in bench.rows(plan, limit_per_s):
            cells.append(cell)
            _tell(f"{len(cells)}/{total} {cell['level']:>10} {cell['contestant']:16} {cell['per_s']:7.1f}/s", cell)
        ready_s = {server.contestant.name: round(server.ready_s, 2) for server in servers}
    document = {
        "circumstances": circumstances(),
        "peer_versions": _peer_versions(),
        "plan": {"seconds": plan.seconds, "rounds": plan.rounds, **about_pictures},
        "limit_per_s": round(limit_per_s, 2),
        "agreement": agreed,
        "ready_s": ready_s,
        "summary": summary.summarise(cells),
        "claims": summary.claims(cells),
        "disturbed": summary.disturbed(cells),
        "cells": cells,
    }
    document["own_cost"] = own_cost(repository, pictures, log, limit_per_s, 2.0 if quick else 6.0)
    document["extras"] = _extras(repository, pictures, log, quick=quick)
    return document


def _extras(repository: Path, pictures: Path, log: Path, *, quick: bool) -> dict[str, Any]:
    counts = (1, 10) if quick else extras.COUNTS
    named = ("efficientnet_lite0", "mobilenet_v2", "efficientnet_lite0_int8", "efficientnet_lite2")
    models = tuple(name for name in named if (repository / name / "config.pbtxt").is_file())
    print("start-up, memory by model, many models, decoding, Triton …", flush=True)
    found: dict[str, Any] = {
        "start_up": extras.start_up(repository, log, 1 if quick else 5),
        "by_model": extras.by_model(repository, log, models),
        "by_count": extras.by_count(repository, pictures, log, counts, 1.5 if quick else 4.0),
        "decoding": extras.decoding(3 if quick else 15),
    }
    if available():
        rounds, seconds = (1, 1.5) if quick else (5, 3.0)
        found["triton"] = triton_path(repository, pictures, log, rounds, seconds)
    return found


@contextlib.contextmanager
def _all_running(repository: Path, scratch: Path) -> Iterator[list[Running]]:
    with contextlib.ExitStack() as stack:
        servers: list[Running] = []
        for contestant in CONTESTANTS:
            print(f"starting {contestant.title}", flush=True)
            servers.append(stack.enter_context(running(contestant, repository, scratch / contestant.name)))
            servers[-1].pause()
        yield servers
        for server in servers:
            server.go()


def photographs(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The photographs of ImageNet's usual size, 500 pixels on the longer side; the example where they are absent."""
    folder.mkdir()
    source = data_folder() / "imagenet" / "images"
    found = (
        [path for path in sorted(source.iterdir()) if _longer_side(path) == LONGER_SIDE_PX] if source.is_dir() else []
    )
    for path in found or [ROOT / "examples" / "chelsea.jpg"]:
        shutil.copy(path, folder / path.name)
    sizes = [path.stat().st_size for path in folder.iterdir()]
    return folder, {"pictures": len(sizes), "picture_kb": round(sum(sizes) / len(sizes) / 1e3)}


def _longer_side(path: Path) -> int:
    with Image.open(path) as image:
        return max(image.size)


def _peer_versions() -> dict[str, str]:
    names = ("fastapi", "litserve", "bentoml", "onnxruntime")
    show = f"import importlib.metadata as m; print(*(f'{{n}}={{m.version(n)}}' for n in {names}))"
    ran = subprocess.run([str(PEERS / "python"), "-c", show], capture_output=True, text=True, check=True)
    return dict(pair.split("=") for pair in ran.stdout.split())


def _tell(what: str, cell: dict[str, Any]) -> None:
    again = f", attempt {cell['attempts']}" if cell["attempts"] > 1 else ""
    failed = f", {cell['failed']} FAILED: {cell['first_failure']}" if cell["failed"] else ""
    print(f"{what}  p50 {cell['p50_ms']} ms, others {100 * cell['others']:.0f} %{again}{failed}", flush=True)


if __name__ == "__main__":
    main()
