"""The servers, each as its own documentation sets it up for load; `CONTESTANTS` is the whole field."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.peers.processes import send, tree
from benchmarks.server import only

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / ".venv-peers" / "bin"
MODEL, INT8 = "efficientnet_lite0", "efficientnet_lite0_int8"
START_TIMEOUT_S = 90.0


@dataclass(frozen=True, slots=True)
class Contestant:
    """A server: how it is started ({port} is filled in), asked, and known to be ready.

    model  the entry of the repository that answers      form  it takes pictures as multipart/form-data only
    """

    name: str
    title: str
    command: tuple[str, ...] = ()
    path: str = "/predict"
    ready: str = "/health"
    model: str = MODEL
    form: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def ours(self) -> bool:
        return not self.command


CORES = os.cpu_count() or 1
OURS = Contestant("ours", "vision-gateway", path=f"/v1/classify?model={MODEL}", ready="/health/ready")
OURS_INT8 = Contestant(
    "ours-int8", "vision-gateway, INT8", path=f"/v1/classify?model={INT8}", ready="/health/ready", model=INT8
)
_UVICORN = (
    str(PEERS / "uvicorn"),
    "benchmarks.peers.fastapi_app:app",
    "--port",
    "{port}",
    "--log-level",
    "error",
    "--no-access-log",
)
PEERS_FIELD = (
    Contestant("fastapi", "FastAPI, one process", _UVICORN, environment={"BENCH_THREADS": "0"}),
    Contestant(
        "fastapi-workers",
        f"FastAPI, {CORES} workers",
        (*_UVICORN, "--workers", str(CORES)),
        environment={"BENCH_THREADS": "1"},
    ),
    Contestant(
        "litserve",
        f"LitServe, {CORES} workers",
        (str(PEERS / "python"), "-m", "benchmarks.peers.litserve_app", "{port}"),
        form=True,
        environment={"BENCH_THREADS": "1"},
    ),
    Contestant(
        "bentoml",
        f"BentoML, {CORES} workers",
        (
            str(PEERS / "bentoml"),
            "serve",
            "benchmarks.peers.bentoml_app:Predict",
            "--host",
            "127.0.0.1",
            "--port",
            "{port}",
        ),
        ready="/readyz",
        environment={"BENCH_THREADS": "1", "BENTOML_DO_NOT_TRACK": "True"},
    ),
)
CONTESTANTS = (OURS, OURS_INT8, *PEERS_FIELD)
# What the others run is FP32; the default variant of ours is compared with them, and said to be INT8.
SAME_FILE = tuple(one.name for one in CONTESTANTS if one.model == MODEL)


@dataclass
class Running:
    contestant: Contestant
    port: int
    pid: int
    ready_s: float

    def pause(self) -> None:
        """Nothing of it runs until `go`: servers that wait take no processor time from the one that is measured."""
        send(self.pid, signal.SIGSTOP)

    def go(self) -> None:
        send(self.pid, signal.SIGCONT)


@contextmanager
def running(contestant: Contestant, repository: Path, log: Path) -> Iterator[Running]:
    """Started and ready; all its processes end with the `with`."""
    with contextlib.ExitStack() as stack:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = int(free.getsockname()[1])
        kept = {name: value for name, value in os.environ.items() if not name.startswith("VISION_")}
        # Several gateways run beside each other; nobody here looks at their metrics.
        kept["VISION_ADMIN_PORT"] = "0"
        # What is measured is this tree, whatever is installed.
        kept["PYTHONPATH"] = str(ROOT)
        if contestant.ours:
            command = [str(Path(sys.executable).with_name("vision")), "serve", "--port", str(port)]
            served = stack.enter_context(only([contestant.model], repository))
            environment = {**kept, "VISION_REPOSITORY": str(served), "VISION_LOG_LEVEL": "error"}
        else:
            command = [part.format(port=port) for part in contestant.command]
            model = repository.resolve() / MODEL / "1" / "model.onnx"
            environment = {**kept, "BENCH_MODEL": str(model)}
        environment |= contestant.environment
        output = stack.enter_context(log.open("ab"))
        began_s = time.monotonic()
        process = subprocess.Popen(
            command, env=environment, cwd=ROOT, stdout=output, stderr=output, start_new_session=True
        )
        try:
            wait_until_ready(f"http://127.0.0.1:{port}{contestant.ready}", process, log)
            yield Running(contestant, port, process.pid, time.monotonic() - began_s)
        finally:
            _end(process)


def wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Returns when the address answers 200. Raises RuntimeError with the end of the log if that does not come."""
    give_up_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < give_up_s:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.01)
    raise RuntimeError(f"{url} was never ready:\n{log.read_text(errors='replace')[-2000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    everything = tree(process.pid)
    for pid in everything:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(8)
    for pid in everything:  # some leave workers behind
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait(8)
