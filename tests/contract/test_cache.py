"""The cache through HTTP: the same bytes are answered without running anything, and the answer says so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from service.engines.fake import FakeEngine
from service.settings import Settings
from tests.cards import classifier, detector
from tests.conftest import FakeGateway, FakeGateways
from tests.pictures import PHOTOGRAPHS, encoded, photograph

JPEG = {"Content-Type": "image/jpeg"}


@pytest.fixture
async def gateway() -> AsyncIterator[FakeGateway]:
    cards = [classifier("fake_large"), classifier("fake_small", accuracy=70.0), detector()]
    async with FakeGateways(Settings(workers=2, cache_bytes=1_000_000), FakeEngine(cards)) as opened:
        yield opened


@pytest.fixture
def picture() -> bytes:
    return encoded(photograph(next(iter(PHOTOGRAPHS))), "JPEG")


async def ask(gateway: FakeGateway, picture: bytes, path: str = "/v1/classify", **query: Any) -> httpx.Response:
    answer = await gateway.client.post(path, params=query, content=picture, headers=JPEG)
    assert answer.status_code == 200, answer.text
    return answer


async def test_the_second_answer_is_the_first_one_and_says_that_it_was_kept(
    gateway: FakeGateway, picture: bytes
) -> None:
    first, second = [(await ask(gateway, picture, model="fake_large")).json() for _ in range(2)]
    assert (first["cached"], second["cached"]) == (False, True)
    assert second["predictions"] == first["predictions"]
    assert second["model"] == first["model"]
    assert second["timing_ms"]["decode"] == second["timing_ms"]["infer"] == 0.0
    assert await gateway.metric('vision_cache_lookups_total{result="hit"}') == 1
    assert await gateway.metric('vision_cache_lookups_total{result="miss"}') == 1
    assert await gateway.metric("vision_cache_bytes") > 4000


async def test_parameters_are_applied_to_what_was_kept(gateway: FakeGateway, picture: bytes) -> None:
    five = (await ask(gateway, picture, model="fake_large")).json()["predictions"]
    two = (await ask(gateway, picture, model="fake_large", top_k=2)).json()
    assert two["cached"]
    assert two["predictions"] == five[:2]


async def test_another_model_has_not_seen_it(gateway: FakeGateway, picture: bytes) -> None:
    await ask(gateway, picture, model="fake_large")
    assert not (await ask(gateway, picture, model="fake_small")).json()["cached"]


async def test_things_are_found_again_with_another_threshold(gateway: FakeGateway, picture: bytes) -> None:
    first = (await ask(gateway, picture, "/v1/detect", score_threshold=0.0)).json()
    again = (await ask(gateway, picture, "/v1/detect", score_threshold=0.0)).json()
    fewer = (await ask(gateway, picture, "/v1/detect", score_threshold=1.0)).json()
    assert again["cached"]
    assert fewer["cached"]
    assert again["predictions"] == first["predictions"]
    assert fewer["predictions"] == [found for found in first["predictions"] if found["score"] >= 1.0]


async def test_a_picture_that_cannot_be_decoded_is_refused_every_time(gateway: FakeGateway, picture: bytes) -> None:
    for _ in range(2):
        answer = await gateway.client.post("/v1/classify", content=picture[: len(picture) // 2], headers=JPEG)
        assert answer.status_code == 400


async def test_what_was_not_run_teaches_the_predictor_nothing(gateway: FakeGateway, picture: bytes) -> None:
    await ask(gateway, picture, model="fake_large")
    before = (
        gateway.gateway.predictor.coverage(),
        await gateway.metric('vision_prediction_ratio_count{model="fake_large"}'),
    )
    await ask(gateway, picture, model="fake_large")
    after = (
        gateway.gateway.predictor.coverage(),
        await gateway.metric('vision_prediction_ratio_count{model="fake_large"}'),
    )
    assert after == before


async def test_nothing_is_kept_unless_asked_for(fake_gateway: FakeGateway, picture: bytes) -> None:
    answers = [(await ask(fake_gateway, picture, model="fake_large")).json() for _ in range(2)]
    assert [answer["cached"] for answer in answers] == [False, False]
    assert await fake_gateway.metric('vision_cache_lookups_total{result="miss"}') == 0
