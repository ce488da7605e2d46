"""A real gateway for tests: `vision serve` in a process of its own, on a free port of 127.0.0.1."""

from __future__ import annotations

import os
import resource
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[1]
REPOSITORY = ROOT / "model_repository"
DEFAULT_MODELS = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2", "mobilenet_v2")
START_TIMEOUT_S = 60.0


def require_models() -> Path:
    """The repository with the default models; skips the test, saying how to get them, where they are missing."""
    missing = [name for name in DEFAULT_MODELS if not (REPOSITORY / name / "config.pbtxt").is_file()]
    if missing:
        pytest.skip(f"{', '.join(missing)} not exported yet: run `make export`")
    return REPOSITORY


def require_starter_models(names: tuple[str, ...]) -> None:
    """Skips the test, saying how to get them, where these entries of the starter heads are missing."""
    missing = [name for name in names if not (REPOSITORY / name / "config.pbtxt").is_file()]
    if missing:
        pytest.skip(f"{', '.join(missing)} not exported yet: run `make export`")


def fp32_models(folder: Path) -> Path:
    """The folder, now with links to the repository's FP32 entries: there a model's name means that graph alone."""
    folder.mkdir()
    for entry in require_models().iterdir():
        if (entry / "config.pbtxt").is_file() and not entry.name.endswith("_int8"):
            (folder / entry.name).symlink_to(entry, target_is_directory=True)
    return folder


def shared_data(folder: str) -> Path:
    """A folder of the pictures that are kept beside the repository; skips the test where they are absent."""
    data = Path(os.environ.get("VISION_DATA", ROOT.parent / "shared" / "data")) / folder
    if not data.is_dir():
        pytest.skip(f"no pictures at $VISION_DATA/{folder}")
    return data


class GatewayServer:
    """`vision serve` with these settings; running, but not necessarily ready, inside the `with`."""

    def __init__(
        self, log: Path, settings: Mapping[str, str], *, admin: bool = True, verify: ssl.SSLContext | bool = True
    ) -> None:
        self._log = log
        self._verify = verify
        with socket.create_server(("127.0.0.1", 0)) as free, socket.create_server(("127.0.0.1", 0)) as also_free:
            self.port, self.admin_port = free.getsockname()[1], also_free.getsockname()[1]
        self.url = f"{'https' if 'VISION_TLS_CERT' in settings else 'http'}://127.0.0.1:{self.port}"
        self.admin_url = f"http://127.0.0.1:{self.admin_port}"
        clean = {name: value for name, value in os.environ.items() if not name.startswith("VISION_")}
        ports = {"VISION_PORT": str(self.port), "VISION_ADMIN_PORT": str(self.admin_port if admin else 0)}
        self._environment = {**clean, **settings, **ports}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def command(self) -> list[str]:
        return [str(Path(sys.executable).with_name("vision")), "serve"]

    def __enter__(self) -> Self:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self.command(), env=self._environment, stdout=log, stderr=log, cwd=ROOT)
        self.wait_for("/health/live")
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, at: TracebackType | None) -> None:
        assert self._process is not None
        self._process.terminate()
        # uvicorn finishes its work, then dies of the signal it was sent, as a shell expects.
        assert self._process.wait(40) in (0, -signal.SIGTERM), self.log()

    def terminate(self) -> None:
        """Sends SIGTERM and returns at once."""
        assert self._process is not None
        self._process.terminate()

    def wait(self, timeout_s: float) -> None:
        """Returns when the process has ended. Raises TimeoutExpired."""
        assert self._process is not None
        self._process.wait(timeout_s)

    def resident_mb(self) -> float:
        """Resident memory of the process now (Linux)."""
        assert self._process is not None
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * resource.getpagesize() / 1e6

    def log(self) -> str:
        return self._log.read_text(errors="replace")[-4000:]

    def wait_for(self, path: str, status: int = 200, timeout_s: float = START_TIMEOUT_S) -> float:
        """Seconds until the path answered with the status. Raises TimeoutError with the end of the log."""
        started_s = time.monotonic()
        while time.monotonic() - started_s < timeout_s:
            try:
                if httpx.get(self.url + path, timeout=5, verify=self._verify).status_code == status:
                    return time.monotonic() - started_s
            except httpx.TransportError:
                assert self._process is not None
                assert self._process.poll() is None, self.log()
            time.sleep(0.02)
        raise TimeoutError(f"{path} did not answer {status} within {timeout_s} s:\n{self.log()}")
