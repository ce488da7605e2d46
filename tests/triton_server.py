"""A real Triton for tests, through the same two programs that `make triton` uses.

@pytest.fixture(scope="session")
def triton(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    require_triton()
    with TritonServer(repository, log=tmp_path_factory.mktemp("triton") / "log") as server:
        yield server
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

PROGRAMS = Path(__file__).resolve().parents[1] / "deploy" / "triton"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0


def require_triton() -> None:
    """Skips the test, saying why, where install.py was not run or cannot work."""
    check = subprocess.run(
        [sys.executable, PROGRAMS / "install.py", "--check"], capture_output=True, text=True, check=False
    )
    if check.returncode != 0:
        pytest.skip(check.stderr.strip().splitlines()[-1])


class TritonServer:
    """Triton on a repository, on free ports of 127.0.0.1; running inside the `with`.

    arguments of serve.py beyond those that it always gets
    url       host:port of its gRPC service
    http_url  its HTTP service        metrics_url  its Prometheus page
    cold      it begins with nothing loaded      wait_for_all  False: `start` does not wait until every model is ready
    """

    def __init__(
        self,
        repository: Path,
        log: Path,
        arguments: tuple[str, ...] = (),
        *,
        cold: bool = False,
        wait_for_all: bool = True,
    ) -> None:
        self._repository = repository
        self._log = log
        self._wait_for_all = wait_for_all
        self._arguments = (*arguments, "--cold") if cold else arguments
        http_port, grpc_port, metrics_port = _free_ports(3)
        self._ports = ["--http-port", http_port, "--grpc-port", grpc_port, "--metrics-port", metrics_port]
        self.url = f"127.0.0.1:{grpc_port}"
        self.http_url = f"http://127.0.0.1:{http_port}"
        self.metrics_url = f"http://127.0.0.1:{metrics_port}/metrics"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Returns when every model of the repository is ready. Raises RuntimeError with the end of the log."""
        arguments = ["--repository", str(self._repository), *self._ports, "--threads", "1", "--exit-timeout", "5"]
        arguments += self._arguments
        with self._log.open("ab") as log:
            # Its own process group, so that `kill` takes the Python stubs along. Not its own session: Linux (autogroup)
            # would weigh priorities within that session only, and not against the gateway beside it.
            self._process = subprocess.Popen(
                [sys.executable, PROGRAMS / "serve.py", *arguments], stdout=log, stderr=log, process_group=0
            )
        give_up_s = time.monotonic() + START_TIMEOUT_S
        # Its page of metrics opens last.
        while not self._answers(self.metrics_url) or (not self.ready() and (self._wait_for_all or not self.live())):
            if self._process.poll() is not None or time.monotonic() > give_up_s:
                self.stop()
                raise RuntimeError("Triton did not start:\n" + self._log.read_text(errors="replace")[-3000:])
            time.sleep(0.05)

    def ready(self) -> bool:
        return self._answers(self.http_url + "/v2/health/ready")

    def live(self) -> bool:
        return self._answers(self.http_url + "/v2/health/live")

    def states(self) -> dict[str, tuple[str, str]]:
        """Model → (state, reason), as its repository index says."""
        request = urllib.request.Request(f"{self.http_url}/v2/repository/index", data=b"{}", method="POST")
        with urllib.request.urlopen(request, timeout=5) as answer:
            index = json.load(answer)
        return {model["name"]: (model.get("state", ""), model.get("reason", "")) for model in index}

    def wait_for_states(self, count: int) -> dict[str, tuple[str, str]]:
        """The states, when that many models are ready or have failed."""
        give_up_s = time.monotonic() + START_TIMEOUT_S
        while sum(state in ("READY", "UNAVAILABLE") for state, _ in self.states().values()) < count:
            if time.monotonic() > give_up_s:
                raise TimeoutError(str(self.states()))
            time.sleep(0.05)
        return self.states()

    def children(self) -> list[int]:
        """Pids of the processes that it has started itself, one for each instance of a model (Linux)."""
        if self._process is None:
            return []
        tasks = Path(f"/proc/{self._process.pid}/task")
        return [int(pid) for task in tasks.iterdir() for pid in _children_of(task)]

    def _answers(self, url: str) -> bool:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def stop(self) -> None:
        """Asks it to finish (SIGTERM) and returns when it is gone; does nothing if it is gone already."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def send(self, number: signal.Signals) -> None:
        """Sends it to the server and to the stubs that run its models."""
        assert self._process is not None
        os.killpg(self._process.pid, number)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """Ends it at once, as a crash or an out-of-memory kill would, and removes the shared memory it leaves."""
        if self._process is None:
            return
        shared = _shared_memory(self._process.pid)
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None
        for path in shared:
            path.unlink(missing_ok=True)


def _children_of(task: Path) -> list[str]:
    try:
        return (task / "children").read_text(encoding="ascii").split()
    except FileNotFoundError:  # the thread has just ended
        return []


def _free_ports(count: int) -> list[str]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [str(listening.getsockname()[1]) for listening in sockets]
    for listening in sockets:
        listening.close()
    return ports


def _shared_memory(pid: int) -> set[Path]:
    """Triton's segments in /dev/shm that the process has mapped."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {Path(line.split()[5]) for line in lines if "/dev/shm/triton" in line}
