"""What every engine promises (service/engines/protocol.py), asked of fake, embedded and triton alike."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.engines.protocol import Job, Outputs, Pixels
from service.errors import DeadlineExceeded, EngineFailed, EngineUnavailable, UnknownModel
from tests.contract.conftest import Rig
from tests.contract.tiny_repository import MAX_BATCH, expected, pictures

BOTH = ("probabilities", "embedding")
# The fake runs no graph, and takes any number of rows.
WITH_A_GRAPH = pytest.mark.parametrize(
    "rig", ["embedded", pytest.param("triton", marks=pytest.mark.triton)], indirect=True
)
# What an answer may lag behind its deadline on a busy machine.
LAG_S = 0.25


def job(model: str, pixels: Pixels, outputs: tuple[str, ...] = BOTH, in_s: float | None = None) -> Job:
    return Job(model, pixels, outputs, None if in_s is None else time.monotonic() + in_s)


def assert_close(actual: NDArray[Any], wanted: NDArray[Any], atol: float) -> None:
    np.testing.assert_allclose(actual.astype(np.float64), wanted.astype(np.float64), atol=atol)


def bad_picture() -> Pixels:
    pixels = pictures(1)
    pixels[0, 0, 0, 0] = 255
    return pixels


async def test_cards_are_what_the_repository_says(rig: Rig) -> None:
    cards = await rig.engine.cards()
    assert sorted(cards, key=lambda card: card.name) == rig.written_cards


async def test_outputs_have_the_shape_and_type_of_the_card(rig: Rig) -> None:
    card = next(card for card in await rig.engine.cards() if card.name == "tiny")
    outputs = await rig.engine.infer(job("tiny", pictures(3)))
    assert outputs.arrays.keys() == {spec.name for spec in card.outputs}
    for spec in card.outputs:
        assert outputs.arrays[spec.name].shape == (3, *spec.dims)
        assert outputs.arrays[spec.name].dtype == np.float32
    assert outputs.batch_rows >= 3
    assert outputs.queue_ms >= 0
    assert outputs.infer_ms >= 0


@WITH_A_GRAPH
async def test_outputs_are_those_of_the_graph(rig: Rig) -> None:
    pixels = pictures(MAX_BATCH)
    for model in ("tiny", "slow", "picky"):
        outputs = await rig.engine.infer(job(model, pixels))
        for name, array in expected(pixels).items():
            assert_close(outputs.arrays[name], array, atol=1e-4)


async def test_a_model_without_batch_axis_takes_one_picture_at_a_time(rig: Rig) -> None:
    card = next(card for card in await rig.engine.cards() if card.name == "single")
    assert card.max_batch_size == 0
    assert [spec.dims for spec in card.outputs] == [(5,), (4,)], "without the batch axis that the config names"
    pixels = pictures(6)
    answers = await asyncio.gather(*[rig.engine.infer(job("single", pixels[i : i + 1])) for i in range(6)])
    for row, answer in enumerate(answers):
        assert answer.arrays["embedding"].shape == (1, 4)
        if rig.engine.name != "fake":
            assert_close(answer.arrays["embedding"], expected(pixels[row : row + 1])["embedding"], atol=1e-4)
    if rig.engine.name != "fake":  # which takes any number of rows
        with pytest.raises(ValueError, match="2 rows"):
            await rig.engine.infer(job("single", pixels[:2]))


async def test_only_what_is_asked_for_comes_back(rig: Rig) -> None:
    outputs = await rig.engine.infer(job("tiny", pictures(1), ("embedding",)))
    assert outputs.arrays.keys() == {"embedding"}


async def test_rows_come_back_in_the_order_of_the_pictures(rig: Rig) -> None:
    pixels = pictures(5)
    together = await rig.engine.infer(job("tiny", pixels))
    for row in range(5):
        alone = await rig.engine.infer(job("tiny", pixels[row : row + 1]))
        for name in BOTH:
            assert_close(together.arrays[name][row], alone.arrays[name][0], atol=1e-5)


async def test_64_different_pictures_at_once_each_get_their_own_answer(rig: Rig) -> None:
    pixels = pictures(64, seed=1)
    jobs = [job("tiny", pixels[i : i + 1]) for i in range(64)]
    at_once = await asyncio.gather(*[rig.engine.infer(each) for each in jobs])
    for each, answer in zip(jobs, at_once, strict=True):
        alone = await rig.engine.infer(each)
        assert_close(answer.arrays["embedding"], alone.arrays["embedding"], atol=1e-4)


async def test_jobs_that_want_different_outputs_do_not_mix(rig: Rig) -> None:
    wants: list[tuple[str, ...]] = [("embedding",), BOTH, ("probabilities",)] * 4
    answers = await asyncio.gather(*[rig.engine.infer(job("tiny", pictures(2), want)) for want in wants])
    assert [set(answer.arrays) for answer in answers] == [set(want) for want in wants]


async def test_an_unknown_model_is_unknown(rig: Rig) -> None:
    with pytest.raises(UnknownModel, match="nobody"):
        await rig.engine.infer(job("nobody", pictures(1)))


async def test_a_deadline_already_past_costs_nothing(rig: Rig) -> None:
    started_s = time.monotonic()
    with rig.slowly(), pytest.raises(DeadlineExceeded):
        await rig.engine.infer(job("slow", pictures(1), in_s=-0.001))
    assert time.monotonic() - started_s < 0.1


async def test_a_deadline_that_passes_while_the_model_runs_is_answered_then(rig: Rig) -> None:
    started_s = time.monotonic()
    with rig.slowly(), pytest.raises(DeadlineExceeded):
        await rig.engine.infer(job("slow", pictures(1), in_s=0.1))
    assert 0.05 < time.monotonic() - started_s < 0.1 + LAG_S


async def test_a_deadline_far_away_changes_nothing(rig: Rig) -> None:
    with rig.slowly():
        assert isinstance(await rig.engine.infer(job("slow", pictures(1), in_s=20.0)), Outputs)


async def test_cancelling_ends_the_wait_at_once_and_harms_nobody(rig: Rig) -> None:
    with rig.slowly():
        task = asyncio.create_task(rig.engine.infer(job("slow", pictures(1))))
        await asyncio.sleep(0.05)
        started_s = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - started_s < LAG_S
    assert isinstance(await rig.engine.infer(job("tiny", pictures(1))), Outputs)


async def test_a_failing_run_is_engine_failed_and_the_next_one_works(rig: Rig) -> None:
    with rig.failing("picky"), pytest.raises(EngineFailed, match="picky") as raised:
        await rig.engine.infer(job("picky", bad_picture()))
    assert "onnx" not in raised.value.detail.lower(), "internals are for the log"
    assert isinstance(await rig.engine.infer(job("picky", pictures(1))), Outputs)


@WITH_A_GRAPH
async def test_more_rows_than_the_model_takes_is_a_bug_of_the_caller(rig: Rig) -> None:
    await rig.engine.cards()
    with pytest.raises(ValueError, match="9 rows"):
        await rig.engine.infer(job("tiny", pictures(MAX_BATCH + 1)))


async def test_closing_answers_everything_that_still_waits(rig: Rig) -> None:
    with rig.slowly():
        tasks = [asyncio.create_task(rig.engine.infer(job("slow", pictures(MAX_BATCH)))) for _ in range(6)]
        await asyncio.sleep(0.05)
        await rig.engine.close()
        async with asyncio.timeout(5):
            answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(answer, Outputs | EngineUnavailable) for answer in answers), answers


async def test_closing_twice_is_no_error(rig: Rig) -> None:
    await rig.engine.close()
    await rig.engine.close()


async def test_providers_name_what_runs_the_models(rig: Rig) -> None:
    await rig.engine.cards()
    assert rig.engine.providers()
    assert all(rig.engine.providers())
