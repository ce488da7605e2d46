"""What only a server can do: go away, come back, refuse, reject. Every sentence of Triton's that we rely on is here."""

from __future__ import annotations

import asyncio
import re
import socket
import time
import urllib.request

import pytest
from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from service.engines.protocol import Job, Outputs
from service.engines.triton import TritonEngine
from service.errors import DeadlineExceeded, EngineFailed, EngineUnavailable, Overloaded
from tests.contract.tiny_repository import MAX_BATCH, pictures
from tests.triton_server import TritonServer

pytestmark = pytest.mark.triton

WANTED = ("probabilities",)
CPU_INSTANCES = 2  # Triton's own default


def job(model: str, in_s: float | None = None) -> Job:
    return Job(model, pictures(1), WANTED, None if in_s is None else time.monotonic() + in_s)


def counted(server: TritonServer, metric: str, model: str, **labels: str) -> int:
    """The value of one of Triton's counters."""
    with urllib.request.urlopen(server.metrics_url, timeout=2) as page:
        lines = page.read().decode().splitlines()
    wanted = [f'model="{model}"', *[f'{key}="{value}"' for key, value in labels.items()]]
    values = [line for line in lines if line.startswith(metric + "{") and all(label in line for label in wanted)]
    return int(float(re.split(r"\s+", values[0])[-1])) if values else 0


async def loaded(engine: TritonEngine) -> set[str]:
    return {entry.name for entry in await engine.entries() if entry.loaded}


async def busy(engine: TritonEngine, model: str, rows: int) -> list[asyncio.Task[Outputs]]:
    """Tasks that keep every instance of the model running for some tenths of a second, `rows` at a time.

    rows  the most that the model takes, so that no two jobs become one batch, and what follows has to wait
    """
    full = Job(model, pictures(rows), WANTED)
    tasks = [asyncio.create_task(engine.infer(full)) for _ in range(CPU_INSTANCES)]
    await asyncio.sleep(0.1)
    return tasks


async def test_jobs_that_come_together_run_together(triton: TritonEngine, triton_server: TritonServer) -> None:
    before = counted(triton_server, "nv_inference_exec_count", "tiny")
    await asyncio.gather(*[triton.infer(job("tiny")) for _ in range(64)])
    await asyncio.sleep(0.1)  # Triton answers first and counts then
    runs = counted(triton_server, "nv_inference_exec_count", "tiny") - before
    assert 64 / MAX_BATCH <= runs <= 32


async def test_one_bad_picture_does_not_fail_the_batch_it_is_in(triton: TritonEngine) -> None:
    pixels = pictures(8)
    pixels[3, 0, 0, 0] = 255
    jobs = [Job("picky", pixels[i : i + 1], WANTED) for i in range(8)]
    answers = await asyncio.gather(*[triton.infer(each) for each in jobs], return_exceptions=True)
    assert [type(answer) for answer in answers] == [EngineFailed if i == 3 else Outputs for i in range(8)]


async def test_a_full_queue_is_overloaded_at_once(triton: TritonEngine) -> None:
    running = await busy(triton, "narrow", 1)
    started_s = time.monotonic()
    answers = await asyncio.gather(*[triton.infer(job("narrow", 5)) for _ in range(8)], return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, Overloaded)]
    assert len(refused) >= 4, answers
    assert time.monotonic() - started_s < 5
    await asyncio.gather(*running)


async def test_a_wait_beyond_the_queue_s_own_timeout_is_deadline_exceeded(triton: TritonEngine) -> None:
    running = await busy(triton, "narrow", 1)
    with pytest.raises(DeadlineExceeded, match="not begun"):
        await triton.infer(job("narrow"))
    await asyncio.gather(*running)


async def test_triton_honours_the_timeout_of_a_request(triton: TritonEngine, triton_server: TritonServer) -> None:
    running = await busy(triton, "slow", MAX_BATCH)
    client = InferenceServerClient(triton_server.url)
    image = InferInput("image", [1, 8, 8, 3], "UINT8")
    image.set_data_from_numpy(pictures(1))
    with pytest.raises(InferenceServerException, match="Request timeout expired"):
        await client.infer("slow", [image], timeout=20_000)  # no deadline on our side
    await client.close()
    await asyncio.gather(*running)


@pytest.mark.parametrize("how", ["deadline", "cancel"])
async def test_work_nobody_waits_for_never_runs(triton: TritonEngine, triton_server: TritonServer, how: str) -> None:
    before = counted(triton_server, "nv_inference_count", "slow")
    running = await busy(triton, "slow", MAX_BATCH)
    waiting = asyncio.create_task(triton.infer(job("slow", 0.05 if how == "deadline" else None)))
    await asyncio.sleep(0.05)
    if how == "cancel":
        waiting.cancel()
    with pytest.raises(DeadlineExceeded if how == "deadline" else asyncio.CancelledError):
        await waiting
    await asyncio.gather(*running)
    await triton.infer(job("slow"))  # the queue is empty when this one has run
    await asyncio.sleep(0.1)  # Triton answers first and counts then
    assert counted(triton_server, "nv_inference_count", "slow") - before == CPU_INSTANCES * MAX_BATCH + 1


async def test_a_model_that_is_unloaded_is_no_card_and_unavailable(
    triton: TritonEngine, triton_server: TritonServer
) -> None:
    async with InferenceServerClient(triton_server.url) as client:
        await client.unload_model("tiny")
        assert "tiny" not in await loaded(triton)
        with pytest.raises(EngineUnavailable):
            await triton.infer(job("tiny"))
        await client.load_model("tiny")
    assert "tiny" in await loaded(triton)


async def test_a_model_that_is_not_ours_is_logged_once(triton: TritonEngine, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        await triton.entries()
    assert [record.getMessage() for record in caplog.records if "not ours" in record.message] == [
        "not ours, left alone: foreign: parameter 'variant_of' is missing from config.pbtxt"
    ]


async def test_a_server_that_dies_and_returns(triton: TritonEngine, triton_server: TritonServer) -> None:
    await triton.entries()
    under_way = asyncio.create_task(triton.infer(job("slow")))
    await asyncio.sleep(0.1)
    await asyncio.to_thread(triton_server.kill)
    try:
        started_s = time.monotonic()
        with pytest.raises(EngineUnavailable):
            await under_way
        with pytest.raises(EngineUnavailable):
            await triton.infer(job("tiny", 30))
        with pytest.raises(EngineUnavailable):
            await triton.entries()
        assert time.monotonic() - started_s < 1
    finally:
        await asyncio.to_thread(triton_server.start)
    async with asyncio.timeout(5):
        while True:
            try:
                assert len(await loaded(triton)) == 5
                await triton.infer(job("tiny"))
                break
            except EngineUnavailable:
                await asyncio.sleep(0.1)


async def test_nobody_there_is_unavailable_within_a_second() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never says a word
        engine = TritonEngine(f"127.0.0.1:{silent.getsockname()[1]}")
        await engine.open()
        started_s = time.monotonic()
        with pytest.raises(EngineUnavailable):
            await engine.entries()
        assert time.monotonic() - started_s < 1
        await engine.close()


async def test_a_closed_engine_is_unavailable(triton: TritonEngine) -> None:
    await triton.close()
    with pytest.raises(EngineUnavailable):
        await triton.infer(job("tiny"))
    with pytest.raises(EngineUnavailable):
        await triton.entries()
