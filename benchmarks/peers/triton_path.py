"""Through the gateway to a real Triton, beside plain loops straight to the same one; in turns, on one model."""

from __future__ import annotations

import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.peers.contestants import MODEL, ROOT
from benchmarks.peers.extras import gateway
from benchmarks.server import only

TRITON = ROOT / "deploy" / "triton"
START_TIMEOUT_S = 60.0
# tensors ready made; the JPEG decoded by the loop, as the gateway must; through the gateway
WAYS = ("loop", "loop-decoding", "gateway")


def available() -> bool:
    """Whether `make triton-install` has been run here."""
    check = subprocess.run([sys.executable, TRITON / "install.py", "--check"], capture_output=True, check=False)
    return check.returncode == 0


def triton_path(repository: Path, pictures: Path, log: Path, rounds: int, seconds: float, clients: int = 8) -> Any:
    """Answers a second of each way, median of the rounds, and the gateway's share of both loops."""
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    p50_ms: dict[str, list[float]] = {way: [] for way in WAYS}
    with (
        only([MODEL], repository) as folder,
        triton(folder, log) as url,
        gateway(folder, log, VISION_ENGINE="triton", VISION_TRITON_URL=url) as server,
    ):
        common = ["--pictures", str(pictures), "--clients", str(clients), "--seconds", str(seconds)]
        loop = [sys.executable, "-m", "benchmarks.peers.triton_loop", "--url", url, "--model", MODEL, *common]
        load = [sys.executable, "-m", "benchmarks.peers.load", "--port", str(server.port)]
        load += ["--path", f"/v1/classify?model={MODEL}", *common]
        commands = {"loop": loop, "loop-decoding": [*loop, "--decode"], "gateway": load}
        for _ in range(rounds):
            for way, command in commands.items():
                ran = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
                said = json.loads(ran.stdout)
                found[way].append(said["answered_in_window"] / seconds)
                p50_ms[way].append(statistics.median(said["latencies_ms"]))
    rates = {way: statistics.median(per_s) for way, per_s in found.items()}
    return {
        "clients": clients,
        "per_s": {way: round(rate, 1) for way, rate in rates.items()},
        "p50_ms": {way: round(statistics.median(ms), 2) for way, ms in p50_ms.items()},
        "of_loop": _share(found, "loop"),
        "of_loop_decoding": _share(found, "loop-decoding"),
    }


def _share(found: dict[str, list[float]], way: str) -> float:
    return round(statistics.median(ours / loop for ours, loop in zip(found["gateway"], found[way], strict=True)), 3)


@contextmanager
def triton(repository: Path, log: Path) -> Iterator[str]:
    """host:port of the gRPC service of a Triton that has loaded the folder."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    http_port, grpc_port, metrics_port = (listening.getsockname()[1] for listening in sockets)
    for listening in sockets:
        listening.close()
    command = [sys.executable, str(TRITON / "serve.py"), "--repository", str(repository), "--threads", "1"]
    command += ["--http-port", str(http_port), "--grpc-port", str(grpc_port), "--metrics-port", str(metrics_port)]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*command, "--exit-timeout", "3"], stdout=output, stderr=output, start_new_session=True
        )
    try:
        _wait(f"http://127.0.0.1:{http_port}/v2/health/ready", process, log)
        yield f"127.0.0.1:{grpc_port}"
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < give_up_s and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise RuntimeError(f"Triton was never ready:\n{log.read_text(errors='replace')[-2000:]}")
