"""What only the embedded engine promises: one queue with the decoders, deadlines before anything runs."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from service.engines.embedded import EmbeddedEngine
from service.engines.protocol import Job, Outputs
from service.errors import DeadlineExceeded
from service.manifest import ModelCard
from service.work_queue import Lane
from service.workers import Workers
from tests.contract.tiny_repository import pictures

Repository = tuple[Path, list[ModelCard]]
WANTED = ("probabilities",)


async def test_a_late_answer_that_is_wanted_comes_though_its_turn_came_after_the_deadline(
    tiny_repository: Repository,
) -> None:
    workers = Workers(1)
    engine = EmbeddedEngine(tiny_repository[0], workers)
    await engine.open()
    job = Job("tiny", pictures(1), WANTED, time.monotonic() - 1.0, keep_late=True)
    assert isinstance(await engine.infer(job), Outputs)
    await engine.close()


async def test_what_waits_is_part_of_what_a_new_job_is_told_to_wait(tiny_repository: Repository) -> None:
    workers = Workers(1)
    engine = EmbeddedEngine(tiny_repository[0], workers, lambda card, rows: 2.0 * rows)
    await engine.open()
    release = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hold(items: list[int]) -> list[int]:
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result(20)
        return items

    busy = asyncio.create_task(workers.run(Lane("busy", hold), 1, deadline_s=0.0, keep_late=True))
    deadline_s = time.monotonic() + 1000
    jobs = [asyncio.create_task(engine.infer(Job("tiny", pictures(2), WANTED, deadline_s))) for _ in range(3)]
    await asyncio.sleep(0.05)
    assert engine.load(deadline_s + 1).wait_s == pytest.approx(12.0, abs=0.1)
    assert engine.load(deadline_s - 1).wait_s == pytest.approx(0.0, abs=0.1)
    release.set()
    await asyncio.gather(busy, *jobs)
    async with asyncio.timeout(20):
        while engine.load(deadline_s + 1).wait_s > 0:  # noqa: ASYNC110  the thread is done a moment after its answer
            await asyncio.sleep(0.01)
    await engine.close()


async def test_a_run_that_cannot_finish_in_time_is_not_begun(tiny_repository: Repository) -> None:
    engine = EmbeddedEngine(tiny_repository[0], Workers(1), lambda card, rows: 100.0)
    await engine.open()
    with pytest.raises(DeadlineExceeded, match="not begun"):
        await engine.infer(Job("tiny", pictures(1), WANTED, time.monotonic() + 10))
    await engine.close()


@pytest.mark.parametrize(("there", "said"), [(True, "holds no entry"), (False, "does not exist")])
async def test_an_empty_repository_is_said_at_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, there: bool, said: str
) -> None:
    folder = tmp_path if there else tmp_path / "nowhere"
    engine = EmbeddedEngine(folder, Workers(1))
    await engine.open()
    assert await engine.cards() == []
    await engine.close()
    assert [record.getMessage() for record in caplog.records if said in record.getMessage()] == [
        f"{folder} {said}; `vision-export --default --repository {folder}` fills it"
    ]
