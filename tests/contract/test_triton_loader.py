"""What loads gives way to what serves: the priorities of the processes that Triton starts for an entry."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from service.manifest import ModelCard
from tests.triton_server import TritonServer, require_triton

pytestmark = pytest.mark.triton

STUB_SH = Path(__file__).resolve().parents[2] / "deploy" / "triton" / "onnxruntime_backend" / "stub.sh"
NICED = min(19, os.nice(0) + 10)


@pytest.fixture
def stub(tmp_path: Path) -> Path:
    """stub.sh beside a stub that prints its niceness."""
    real = tmp_path / "stub.real"
    real.write_text(f"#!/bin/sh\nexec {sys.executable} -c 'import os; print(os.nice(0))'\n")
    real.chmod(0o755)
    shutil.copy2(STUB_SH, tmp_path / "stub")
    (tmp_path / "stub").chmod(0o755)
    return tmp_path / "stub"


@pytest.mark.parametrize(
    ("backend", "environment", "niced"),
    [
        ("onnxruntime", {"TRITON_STUB_NICENESS": "0"}, True),
        ("onnxruntime", {}, False),
        ("python", {"TRITON_STUB_NICENESS": "0"}, False),
    ],
)
def test_only_a_stub_that_is_raised_again_starts_with_low_priority(
    stub: Path, backend: str, environment: dict[str, str], niced: bool
) -> None:
    arguments = [str(stub), "1/model.onnx", "a b", f"/backends/{backend}"]
    said = subprocess.run(arguments, env=os.environ | environment, capture_output=True, text=True, check=True).stdout
    assert int(said) == (NICED if niced else os.nice(0))


def test_a_model_loads_with_low_priority_and_serves_with_the_ordinary_one(
    tiny_repository: tuple[Path, list[ModelCard]], tmp_path: Path
) -> None:
    require_triton()
    if not _may_raise():
        pytest.skip("a process may not raise its priority again here: then only the loading thread has a low one")
    with TritonServer(tiny_repository[0], tmp_path / "log", cold=True, wait_for_all=False) as server:
        load = httpx.URL(f"{server.http_url}/v2/repository/models/tiny/load")
        seen: set[int] = set()
        with ThreadPoolExecutor(1) as aside:
            answer = aside.submit(httpx.post, load, json={}, timeout=60)
            while not answer.done():
                seen |= _niceness(server)
                time.sleep(0.002)
            assert answer.result().status_code == 200
        assert NICED in seen
        assert _niceness(server) == {os.nice(0)}


def _niceness(server: TritonServer) -> set[int]:
    """Of every thread of every process that the server has started for a model."""
    found = set()
    for child in server.children():
        for thread in _threads(child):
            try:
                found.add(os.getpriority(os.PRIO_PROCESS, thread))
            except ProcessLookupError:  # it has just ended
                continue
    return found


def _threads(pid: int) -> list[int]:
    try:
        return [int(thread.name) for thread in Path(f"/proc/{pid}/task").iterdir()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _may_raise() -> bool:
    def lower_and_raise() -> bool:
        try:
            for niceness in (min(19, os.nice(0) + 1), os.nice(0)):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)
        except PermissionError:
            return False
        return True

    with ThreadPoolExecutor(1) as aside:
        return aside.submit(lower_and_raise).result()
