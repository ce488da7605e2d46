"""The real Triton and what is written for it: the CPU's configs load and are warmed, those for a GPU are understood and
refused for the one reason that there is none, and an entry with a plan answers by ONNX Runtime until it is swapped."""

from __future__ import annotations

import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from export.device_config import settle
from export.tensorrt.swap import revert, swap_in
from service.engines.protocol import Job
from service.engines.triton import TritonEngine
from service.entry_config import read_entry, write_entry
from service.manifest import Device, Profile, TensorRtPlan
from service.triton_config import INSTANCES
from tests.contract.tiny_repository import pictures, write_tiny_repository
from tests.triton_server import TritonServer, require_triton

pytestmark = pytest.mark.triton

PROFILE = Profile("nowhere", 0.0, 1.0, ((1, 1.0), (4, 2.0), (8, 3.0), (64, 9.0)))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TritonServer, Path]]:
    """A server on `tiny` and `single`, written for a CPU."""
    require_triton()
    repository = tmp_path_factory.mktemp("repository")
    write_tiny_repository(repository)
    for name in ("narrow", "picky", "slow"):
        shutil.rmtree(repository / name)
    for name in ("tiny", "single"):
        write_entry(replace(read_entry(repository / name), profile=PROFILE, device="cpu"), repository / name)
    with TritonServer(repository, log=tmp_path_factory.mktemp("triton") / "log") as running:
        yield running, repository


def ask(server: TritonServer, path: str, *, post: bool = False) -> tuple[int, str]:
    request = urllib.request.Request(server.http_url + path, data=b"{}" if post else None)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as err:
        return err.code, err.read().decode()


def load(server: TritonServer, name: str) -> tuple[int, str]:
    return ask(server, f"/v2/repository/models/{name}/load", post=True)


def config(server: TritonServer, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ask(server, f"/v2/models/{name}/config")[1])
    return found


def copy(repository: Path, name: str) -> Path:
    shutil.copytree(repository / "tiny", repository / name)
    write_entry(replace(read_entry(repository / "tiny"), name=name), repository / name)
    return repository / name


@pytest.mark.parametrize(("name", "batches"), [("tiny", (1, 4, 8)), ("single", (1,))])
def test_every_instance_was_warmed_with_every_profiled_batch_before_it_was_ready(
    server: tuple[TritonServer, Path], name: str, batches: tuple[int, ...]
) -> None:
    (stats,) = json.loads(ask(server[0], f"/v2/models/{name}/stats")[1])["model_stats"]
    counted = {run["batch_size"]: run["compute_infer"]["count"] for run in stats["batch_stats"]}
    assert counted == dict.fromkeys(batches, INSTANCES)


def test_triton_took_every_word_of_it(server: tuple[TritonServer, Path]) -> None:
    said = config(server[0], "tiny")
    assert said["version_policy"] == {"specific": {"versions": [1]}}
    (group,) = said["instance_group"]
    assert (group["kind"], group["count"]) == ("KIND_CPU", INSTANCES)
    assert [warm_up["batch_size"] for warm_up in said["model_warmup"]] == [1, 4, 8]
    assert said["dynamic_batching"]["default_queue_policy"]["max_queue_size"] > 0


@pytest.mark.parametrize("device", ["gpu", "gpu-tensorrt"])
def test_configs_for_a_gpu_are_refused_for_want_of_one_and_nothing_else(
    server: tuple[TritonServer, Path], device: Device
) -> None:
    running, repository = server
    name = f"on_{device}"
    settle(copy(repository, name), device)
    status, said = load(running, name)
    assert status == 400
    assert "has kind KIND_GPU but no GPUs are available" in said


async def test_a_plan_beside_the_graph_changes_nothing_until_the_swap_and_can_be_taken_back(
    server: tuple[TritonServer, Path],
) -> None:
    running, repository = server
    entry = copy(repository, "planned")
    onnx = read_entry(entry)
    (entry / "2").mkdir()  # what a build leaves that was killed before the swap
    (entry / "2" / "model.plan").write_bytes(b"half a plan")
    assert load(running, "planned") == (200, "")
    plan = TensorRtPlan("a" * 64, "b" * 64, "11.4.0", "9.0", version="3")
    swap_in(entry, replace(onnx, backend="tensorrt", device="gpu", plan=plan), b"a plan")
    engine = TritonEngine(running.url)
    await engine.open()
    try:
        job = Job("planned", pictures(1), ("probabilities",))
        assert (await engine.infer(job)).arrays["probabilities"].shape == (1, 5)  # what is loaded goes on
        status, said = load(running, "planned")
        assert status == 400
        assert "version 3" in said
        assert "unable to find backend library for backend 'tensorrt'" in said
        assert revert(entry)
        assert load(running, "planned") == (200, "")
        assert (await engine.infer(job)).arrays["probabilities"].shape == (1, 5)
    finally:
        await engine.close()
    assert config(running, "planned")["backend"] == "onnxruntime"
