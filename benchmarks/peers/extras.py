"""What is not a race: start-up, memory for each model, what many models cost, decoding large JPEGs."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.peers.contestants import INT8, MODEL, ROOT, Contestant, Running, running
from benchmarks.peers.processes import memory_mb, usage
from service.entry_config import read_entry
from service.image_header import SizeLimits, read_header
from service.images import to_model_pixels, to_upright

Row = dict[str, Any]
THREE = (MODEL, INT8, "efficientnet_lite1")
COUNTS = (1, 10, 150)
LIMITS = SizeLimits(50_000_000, 16_384)


@contextmanager
def gateway(repository: Path, log: Path, **settings: str) -> Iterator[Running]:
    """`vision serve` on exactly this folder."""
    command = (str(Path(sys.executable).with_name("vision")), "serve", "--port", "{port}")
    environment = {"VISION_REPOSITORY": str(repository), "VISION_LOG_LEVEL": "error", **settings}
    contestant = Contestant("gateway", "vision-gateway", command, ready="/health/ready", environment=environment)
    with running(contestant, repository, log) as server:
        yield server


def start_up(repository: Path, log: Path, times: int) -> Row:
    """Seconds from the command to the first 200 of /health/ready, with three models; the median."""
    found = []
    for _ in range(times):
        with _linked(repository, THREE) as folder, gateway(folder, log) as server:
            found.append(server.ready_s)
    return {"models": list(THREE), "ready_s": round(statistics.median(found), 2), "all_s": [round(s, 2) for s in found]}


def by_count(repository: Path, pictures: Path, log: Path, counts: tuple[int, ...], seconds: float) -> list[Row]:
    """The same model asked for in repositories of 1, 10, 150 entries: copies of Lite0 in INT8 under other names."""
    rows = []
    for count in counts:
        with TemporaryDirectory() as scratch:
            folder = Path(scratch)
            for number in range(count):
                _copy(repository / INT8, folder / f"{INT8}_{number:03d}")
            with gateway(folder, log) as server:
                # Two ways: a model named (one candidate), and a choice among all of them.
                named = _asked(server, f"/v1/classify?model={INT8}_000", pictures, seconds)
                chosen = _asked(server, "/v1/classify?latency_budget_ms=5000", pictures, seconds)
                rows.append(
                    {
                        "entries": count,
                        "ready_s": round(server.ready_s, 2),
                        "memory_mb": round(memory_mb(server.pid), 1),
                    }
                    | {f"named_{name}": value for name, value in named.items()}
                    | {f"chosen_{name}": value for name, value in chosen.items()}
                )
    return rows


def by_model(repository: Path, log: Path, models: tuple[str, ...]) -> list[Row]:
    """Memory that one model more takes once it is loaded, beside the size of its file."""
    rows = []
    with _linked(repository, models[:1]) as folder, gateway(folder, log) as server:
        for model in models[1:]:
            before = memory_mb(server.pid)
            (folder / model).symlink_to((repository / model).resolve(), target_is_directory=True)
            _wait_for_model(server, model)
            time.sleep(0.3)
            size = (repository / model / "1" / "model.onnx").stat().st_size
            rows.append(
                {"model": model, "memory_mb": round(memory_mb(server.pid) - before, 1), "file_mb": round(size / 1e6, 1)}
            )
    return rows


def decoding(times: int) -> Row:
    """A 12-megapixel JPEG to Lite0's pixels: scaled while it is decoded, and decoded in full; in turns, one thread."""
    photograph = (
        Image.open(ROOT / "examples" / "chelsea.jpg").convert("RGB").resize((4000, 3000), Image.Resampling.BICUBIC)
    )
    buffer = io.BytesIO()
    photograph.save(buffer, "JPEG", quality=90)
    data = buffer.getvalue()
    header, rule = read_header(data, LIMITS), read_entry(ROOT / "model_repository" / MODEL).resize

    def scaled() -> None:
        to_model_pixels(data, header, rule)

    def full() -> None:
        to_upright(data, header).resize((rule.size_hw[1], rule.size_hw[0]), Image.Resampling.BICUBIC)

    ways = {"scaled": scaled, "full": full}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(times):
        for name, way in ways.items():
            began_s = time.thread_time()
            way()
            taken[name].append((time.thread_time() - began_s) * 1e3)
    medians = {name: statistics.median(ms) for name, ms in taken.items()}
    ratio = statistics.median(f / s for s, f in zip(taken["scaled"], taken["full"], strict=True))
    return {
        "megapixels": 12.0,
        "file_mb": round(len(data) / 1e6, 2),
        "scaled_ms": round(medians["scaled"], 1),
        "full_ms": round(medians["full"], 1),
        "ratio": round(ratio, 2),
    }


def _asked(server: Running, path: str, pictures: Path, seconds: float) -> Row:
    command = [sys.executable, "-m", "benchmarks.peers.load", "--port", str(server.port), "--path", path]
    command += ["--pictures", str(pictures), "--clients", "4", "--seconds", str(seconds)]
    before = usage(server.pid)
    said = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout)
    after = usage(server.pid)
    answers = said["answered_in_window"] * said["lasted_s"] / seconds
    return {
        "p50_ms": round(float(np.median(said["latencies_ms"])), 3),
        "cpu_ms": round(1e3 * (after.server_s - before.server_s) / max(1.0, answers), 3),
        "failed": said["failed"],
    }


def _copy(entry: Path, copy: Path) -> None:
    """The entry under another name; its graph is a hard link where the file system allows."""
    shutil.copytree(entry, copy, copy_function=_link)
    config = copy / "config.pbtxt"
    text = config.read_text(encoding="utf-8")
    config.unlink()
    config.write_text(text.replace(f'name: "{entry.name}"', f'name: "{copy.name}"', 1), encoding="utf-8")


def _link(source: str, target: str) -> None:
    try:
        Path(target).hardlink_to(source)
    except OSError:
        shutil.copy2(source, target)


@contextmanager
def _linked(repository: Path, models: tuple[str, ...]) -> Iterator[Path]:
    with TemporaryDirectory() as scratch:
        for model in models:
            (Path(scratch) / model).symlink_to((repository / model).resolve(), target_is_directory=True)
        yield Path(scratch)


def _wait_for_model(server: Running, model: str) -> None:
    for _ in range(600):
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{server.port}/v1/models/{model}", timeout=5),
        ):
            return
        time.sleep(0.1)
    raise TimeoutError(f"{model} was not loaded within a minute")
