"""A model that fails, through HTTP: another one answers, it is left out for a while, and whoever names it is told."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import pytest

from service.circuits import FAILURES
from service.engines.fake import FakeEngine
from service.engines.protocol import Job, Outputs
from service.settings import Settings
from tests.cards import classifier, detector
from tests.conftest import FakeGateway, FakeGateways
from tests.pictures import encoded, photograph

LARGE, SMALL = "fake_large", "fake_small"
JPEG = {"Content-Type": "image/jpeg"}


async def ask(gateway: FakeGateway, path: str = "/v1/classify", **query: Any) -> httpx.Response:
    query = {"latency_budget_ms": 20000} | query
    return await gateway.client.post(path, params=query, content=encoded(photograph()), headers=JPEG)


async def circuit(gateway: FakeGateway, name: str = LARGE) -> str:
    return str((await gateway.client.get(f"/v1/models/{name}")).json()["circuit"])


async def test_a_request_whose_model_fails_is_answered_by_another_and_says_so(fake_gateway: FakeGateway) -> None:
    fake_gateway.engine.failing = {LARGE}
    answer = await ask(fake_gateway)
    assert answer.status_code == 200, answer.text
    assert answer.json()["model"]["name"] == answer.headers["X-Model"] == SMALL
    assert answer.json()["routing"]["failed"] == [LARGE]
    assert answer.json()["routing"]["degraded"] is True
    assert await fake_gateway.metric(f'vision_reroutes_total{{model="{LARGE}",outcome="answered"}}') == 1.0
    assert await fake_gateway.metric(f'vision_model_failures_total{{model="{LARGE}"}}') == 1.0
    assert await fake_gateway.metric('vision_requests_total{outcome="degraded",task="classify",tier="custom"}') == 1.0


async def test_after_three_failures_the_model_is_left_out_and_whoever_names_it_is_told(
    fake_gateway: FakeGateway,
) -> None:
    fake_gateway.engine.failing = {LARGE}
    for _ in range(FAILURES):
        assert (await ask(fake_gateway)).json()["routing"]["failed"] == [LARGE]
    around = (await ask(fake_gateway)).json()
    assert (around["model"]["name"], around["routing"]["failed"]) == (SMALL, [])
    assert around["routing"]["reason"] == "circuit-open"
    assert await circuit(fake_gateway) == "open"
    assert (await fake_gateway.client.get("/health/ready")).json() == {"status": "ready", "failing": [LARGE]}
    assert await fake_gateway.metric(f'vision_model_circuit_open{{model="{LARGE}"}}') == 1.0
    route = (await ask(fake_gateway, "/v1/route", task="classify")).json()
    assert next(one for one in route["candidates"] if one["model"] == LARGE)["why_not"].startswith("it failed")

    named = await ask(fake_gateway, model=LARGE)
    assert named.status_code == 500
    assert named.json()["type"].endswith("engine-failed")

    fake_gateway.engine.failing = set()
    assert (await ask(fake_gateway, model=LARGE)).status_code == 200, "a good answer of a request that names it"
    assert await circuit(fake_gateway) == "closed"
    for _ in range(3):
        last = (await ask(fake_gateway)).json()
    assert last["model"]["name"] == LARGE


async def test_after_the_pause_one_request_tries_it_again(
    fake_gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.circuits.FIRST_PAUSE_S", 0.0)
    fake_gateway.engine.failing = {LARGE}
    for _ in range(FAILURES):
        await ask(fake_gateway)
    assert await circuit(fake_gateway) == "half-open"
    fake_gateway.engine.failing = set()
    for _ in range(4):
        answer = (await ask(fake_gateway)).json()
    assert answer["model"]["name"] == LARGE
    assert await circuit(fake_gateway) == "closed"


async def test_where_all_fail_every_request_is_told_and_the_gateway_is_not_ready(fake_gateway: FakeGateway) -> None:
    fake_gateway.engine.failing = {LARGE, SMALL}
    for _ in range(FAILURES + 1):
        answer = await ask(fake_gateway)
        assert answer.status_code == 500
        assert answer.json()["type"].endswith("engine-failed")
    assert (await fake_gateway.client.get("/health/ready")).status_code == 503
    fake_gateway.engine.failing = set()
    assert (await ask(fake_gateway)).status_code == 200, "where nothing else is left it is chosen as ever"
    assert (await fake_gateway.client.get("/health/ready")).status_code == 200


async def test_several_pictures_and_a_cascade_are_answered_by_another_as_well(fake_gateway: FakeGateway) -> None:
    picture = encoded(photograph())
    for failing, strategy in ((LARGE, "single"), (SMALL, "cascade"), (LARGE, "cascade")):
        fake_gateway.engine.failing = {failing}
        answer = await ask(fake_gateway, strategy=strategy)
        assert answer.status_code == 200, (failing, strategy, answer.text)
        assert answer.json()["model"]["name"] != failing
    fake_gateway.engine.failing = {LARGE}
    files = [("image", ("a.jpg", picture, "image/jpeg"))] * 3
    several = await fake_gateway.client.post("/v1/classify", params={"latency_budget_ms": 20000}, files=files)
    assert [one["model"]["name"] for one in several.json()["answers"]] == [SMALL] * 3


class Garbage(FakeEngine):
    """`garbage` answers with what are no numbers, in the right shape."""

    async def infer(self, job: Job) -> Outputs:
        outputs = await super().infer(job)
        if job.model == "garbage":
            for name in outputs.arrays.keys() & {"probabilities", "embedding", "scores"}:
                outputs.arrays[name] = np.full_like(outputs.arrays[name], np.nan)
        return outputs


@pytest.mark.parametrize("path", ["/v1/classify", "/v1/embed", "/v1/detect"])
async def test_an_answer_of_no_numbers_is_a_failure_too_and_is_not_kept_in_the_cache(path: str) -> None:
    kind = detector if path == "/v1/detect" else classifier
    cards = [kind("garbage", accuracy=76.0), kind("fine", accuracy=60.0)]
    async with FakeGateways(Settings(workers=2, cache_bytes=10_000_000), Garbage(cards)) as gateway:
        for _ in range(FAILURES):
            answer = (await ask(gateway, path)).json()
            assert (answer["model"]["name"], answer["routing"]["failed"]) == ("fine", ["garbage"])
        assert await circuit(gateway, "garbage") == "open"
        for _ in range(2):
            named = await ask(gateway, path, model="garbage")
            assert named.status_code == 500
            assert named.json()["type"].endswith("engine-failed")
        assert await gateway.metric('vision_cache_lookups_total{result="hit"}') == FAILURES - 1, "of `fine`"
        assert await gateway.metric("vision_in_flight_requests") == 0
