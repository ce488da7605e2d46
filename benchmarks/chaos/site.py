"""A gateway to break: with its own copy of the models, and with a real Triton or the embedded engine."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.chaos.load import MODELS
from tests.gateway_server import REPOSITORY, GatewayServer
from tests.triton_server import TritonServer

EngineName = Literal["embedded", "triton"]
# The models take 70 MB; the rest is for what faults write.
_TMPFS = "size=400m"
_CONTROL_TIMEOUT_S = 120.0


@dataclass
class Site:
    """The gateway is ready. `on_tmpfs`: the repository is a file system of its own, which can be filled."""

    engine: EngineName
    folder: Path
    repository: Path
    gateway: GatewayServer
    triton: TritonServer | None = None
    on_tmpfs: bool = False

    def reload(self, name: str) -> str:
        """Tells Triton of a changed entry, as an operator does; the embedded engine sees it itself. Why it refused."""
        return self.control(name, "load") if self.triton else ""

    def control(self, name: str, what: Literal["load", "unload"]) -> str:
        """Triton's own model control, behind the gateway's back; what it says if it refuses."""
        assert self.triton is not None
        url = f"{self.triton.http_url}/v2/repository/models/{name}/{what}"
        try:
            with urllib.request.urlopen(
                urllib.request.Request(url, data=b"{}", method="POST"), timeout=_CONTROL_TIMEOUT_S
            ):
                return ""
        except urllib.error.HTTPError as err:
            return str(json.load(err).get("error", ""))


class OtherGateway(GatewayServer):
    """`vision serve`, started by another command."""

    def __init__(self, log: Path, settings: Mapping[str, str], command: list[str]) -> None:
        super().__init__(log, settings)
        self._command = command

    def command(self) -> list[str]:
        return self._command


def serve_command() -> list[str]:
    return [str(Path(sys.executable).with_name("vision")), "serve"]


@contextmanager
def models_and_triton(engine: EngineName) -> Iterator[tuple[Path, Path, TritonServer | None, bool]]:
    """(folder, repository, Triton, whether the repository is a tmpfs) for gateways that come one after another."""
    with tempfile.TemporaryDirectory(prefix="chaos-") as name, contextlib.ExitStack() as stack:
        folder, repository = Path(name), Path(name) / "repository"
        repository.mkdir()
        on_tmpfs = _mount(repository)
        if on_tmpfs:
            stack.callback(subprocess.run, ["umount", "-l", str(repository)], check=False)
        for model in MODELS:
            shutil.copytree(REPOSITORY / model, repository / model)
        triton = None
        if engine == "triton":
            triton = stack.enter_context(TritonServer(repository, log=folder / "triton.log"))
        yield folder, repository, triton, on_tmpfs


@contextmanager
def gateway_on(
    engine: EngineName,
    parts: tuple[Path, Path, TritonServer | None, bool],
    *,
    command: list[str] | None = None,
    more: Mapping[str, str] | None = None,
    triton_host: str = "127.0.0.1",
) -> Iterator[Site]:
    """A gateway on them, ready. command  what starts it     more  environment of its process"""
    folder, repository, triton, on_tmpfs = parts
    settings = {"VISION_ENGINE": engine, "VISION_REPOSITORY": str(repository), **(more or {})}
    if triton is not None:
        settings["VISION_TRITON_URL"] = f"{triton_host}:{triton.url.rsplit(':', 1)[1]}"
    with OtherGateway(folder / "gateway.log", settings, command or serve_command()) as gateway:
        gateway.wait_for("/health/ready")
        yield Site(engine, folder, repository, gateway, triton, on_tmpfs)


def _mount(folder: Path) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", _TMPFS, "tmpfs", str(folder)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False
