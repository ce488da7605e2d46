"""The server under test: `vision serve` in a process of its own, and what it says about itself."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
START_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Server:
    port: int
    admin_port: int
    pid: int


class Machine:
    """Whose processor time it was (Linux): that of some processes, and that of everybody."""

    def __init__(self, pids: list[int]) -> None:
        self._pids = pids

    def used(self) -> tuple[float, float]:
        """Seconds used so far by everybody on all cores, and by the processes watched."""
        tick = os.sysconf("SC_CLK_TCK")
        stat = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
        user, nice, system, _, _, irq, softirq, steal = (int(number) for number in stat[:8])
        watched = 0
        for pid in self._pids:
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
            watched += int(fields[11]) + int(fields[12])
        return (user + nice + system + irq + softirq + steal) / tick, watched / tick

    def others_since(self, before: tuple[float, float]) -> float:
        """Processor time of others since `before`, % of what those watched used."""
        everybody, watched = (now - then for now, then in zip(self.used(), before, strict=True))
        return round(100.0 * max(0.0, everybody - watched) / max(1e-3, watched), 1)


@contextmanager
def only(models: Iterable[str], repository: Path) -> Iterator[Path]:
    """A repository of these models alone, whatever else has been exported."""
    with tempfile.TemporaryDirectory() as folder:
        for model in models:
            (Path(folder) / model).symlink_to((repository / model).resolve(), target_is_directory=True)
        yield Path(folder)


@contextmanager
def serving(repository: Path, more: Mapping[str, str] | None = None) -> Iterator[Server]:
    """Running and ready, with more settings if there are any; it ends with the `with`."""
    with socket.create_server(("127.0.0.1", 0)) as free, socket.create_server(("127.0.0.1", 0)) as also_free:
        port, admin_port = int(free.getsockname()[1]), int(also_free.getsockname()[1])
    clean = {name: value for name, value in os.environ.items() if not name.startswith("VISION_")}
    ports = {"VISION_PORT": str(port), "VISION_ADMIN_PORT": str(admin_port)}
    settings = {**ports, "VISION_REPOSITORY": str(repository), "VISION_LOG_LEVEL": "error", **(more or {})}
    with tempfile.TemporaryFile() as log:
        command = [str(Path(sys.executable).with_name("vision")), "serve"]
        process = subprocess.Popen(command, env={**clean, **settings}, stdout=log, stderr=log, cwd=ROOT)
        try:
            _wait_until_ready(port, process)
            yield Server(port, admin_port, process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(40)


def metrics(admin_port: int) -> dict[str, float]:
    """Every series by its name and labels, as written in /metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{admin_port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    lines = re.findall(r"^([a-z_]+(?:\{[^}]*\})?) (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in lines}


def _wait_until_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    started_s = time.monotonic()
    while time.monotonic() - started_s < START_TIMEOUT_S:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise TimeoutError(f"the server was not ready within {START_TIMEOUT_S} s")
