"""A gateway with a memory budget, over HTTP: three classifiers, room for two."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from PIL import Image

from service.engines.fake import FakeEngine
from service.errors import EngineUnavailable
from service.residency import estimated_bytes
from service.settings import Settings
from tests.cards import classifier
from tests.conftest import FakeGateway, FakeGateways
from tests.contract.problem import assert_problem
from tests.pictures import encoded

PICTURE = encoded(Image.new("RGB", (64, 48), "red"))
SMALL, MIDDLE, LARGE = "small", "middle", "large"


def engine_of_three(kind: type[FakeEngine] = FakeEngine) -> FakeEngine:
    cards = [
        classifier(SMALL, accuracy=60.0, run_ms=1.0),
        classifier(MIDDLE, accuracy=70.0, run_ms=2.0),
        classifier(LARGE, accuracy=80.0, run_ms=4.0),
    ]
    engine = kind(cards)
    engine.cold = {card.name for card in cards}
    return engine


@pytest.fixture
async def budgeted() -> AsyncIterator[FakeGateway]:
    """`small` and `large` are loaded at the start: the fastest, then the most accurate."""
    budget = int(2.5 * estimated_bytes(classifier()))
    settings = Settings(workers=2, memory_budget_bytes=budget, poll_interval_s=0.05, probe_after_s=0)
    async with FakeGateways(settings, engine_of_three()) as opened:
        await until(opened, lambda states: list(states.values()).count("loaded") == 2)
        yield opened


async def states(gateway: FakeGateway) -> dict[str, str]:
    models = (await gateway.client.get("/v1/models")).json()["models"]
    return {model["name"]: model["state"] for model in models}


async def until(gateway: FakeGateway, holds: Callable[[dict[str, str]], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds(await states(gateway)):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def classify(gateway: FakeGateway, **query: Any) -> httpx.Response:
    headers = {"Content-Type": "image/jpeg"}
    return await gateway.client.post("/v1/classify", params=query, content=PICTURE, headers=headers)


def model_of(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    name: str = answer.json()["model"]["name"]
    return name


async def test_the_budget_is_filled_with_the_most_useful(budgeted: FakeGateway) -> None:
    assert await states(budgeted) == {SMALL: "loaded", MIDDLE: "cold", LARGE: "loaded"}
    assert await budgeted.metric('vision_model_state{model="middle",state="cold"}') == 1.0
    assert await budgeted.metric('vision_model_ready{model="large"}') == 1.0
    assert (await budgeted.client.get("/health/ready")).status_code == 200


async def test_a_cold_model_that_is_named_takes_the_place_of_the_least_recently_used(budgeted: FakeGateway) -> None:
    assert model_of(await classify(budgeted, model=LARGE)) == LARGE
    assert model_of(await classify(budgeted, model=SMALL)) == SMALL
    assert model_of(await classify(budgeted, model=MIDDLE)) == MIDDLE
    assert await states(budgeted) == {SMALL: "loaded", MIDDLE: "loaded", LARGE: "cold"}
    assert await budgeted.metric('vision_model_evictions_total{model="large"}') == 1.0
    loads = 'vision_model_loads_total{model="middle",outcome="loaded",why="request"}'
    assert await budgeted.metric(loads) == 1.0
    assert await budgeted.metric('vision_model_load_duration_seconds_count{model="middle"}') == 1.0


async def test_what_cannot_be_loaded_in_time_is_503_and_comes_all_the_same(budgeted: FakeGateway) -> None:
    budgeted.engine.load_s = 0.5
    refused = await classify(budgeted, model=MIDDLE, latency_budget_ms=200)
    assert_problem(refused, 503, "model-loading", field="model")
    assert int(refused.headers["Retry-After"]) >= 1
    await until(budgeted, lambda now: now[MIDDLE] == "loaded")
    assert model_of(await classify(budgeted, model=MIDDLE, latency_budget_ms=200)) == MIDDLE


async def test_others_are_answered_while_a_model_is_loaded(budgeted: FakeGateway) -> None:
    budgeted.engine.load_s = 1.0
    waiting = asyncio.create_task(classify(budgeted, model=MIDDLE))
    await until(budgeted, lambda now: now[MIDDLE] == "loading")
    loaded = next(name for name, state in (await states(budgeted)).items() if state == "loaded")
    assert model_of(await classify(budgeted, model=loaded, latency_budget_ms=200)) == loaded
    assert not waiting.done()
    assert model_of(await waiting) == MIDDLE


async def test_what_is_in_use_stays_and_the_cold_one_waits_for_it(budgeted: FakeGateway) -> None:
    budgeted.engine.delay_s_by_model = {SMALL: 0.4, LARGE: 0.8}
    running = [asyncio.create_task(classify(budgeted, model=name)) for name in (SMALL, LARGE)]
    await asyncio.sleep(0.1)
    assert model_of(await classify(budgeted, model=MIDDLE)) == MIDDLE
    assert await states(budgeted) == {SMALL: "cold", MIDDLE: "loaded", LARGE: "loaded"}
    assert [model_of(await task) for task in running] == [SMALL, LARGE]


async def test_the_router_waits_for_no_load_but_gets_what_it_wanted_next_time(budgeted: FakeGateway) -> None:
    await classify(budgeted, model=MIDDLE)
    await classify(budgeted, model=SMALL)
    await until(budgeted, lambda now: now[LARGE] == "cold")
    budgeted.engine.load_s = 0.3
    assert model_of(await classify(budgeted, latency_budget_ms=50)) == MIDDLE
    for _ in range(5):  # wanted more than twice as often as whoever has to go
        await classify(budgeted, latency_budget_ms=50)
    await until(budgeted, lambda now: now[LARGE] == "loaded")
    assert model_of([await classify(budgeted, latency_budget_ms=50) for _ in range(4)][-1]) == LARGE
    assert await budgeted.metric('vision_model_loads_total{model="large",outcome="loaded",why="background"}') >= 1


async def test_a_request_that_has_the_time_waits_for_the_better_model(budgeted: FakeGateway) -> None:
    budgeted.gateway.fleet.inventory.residency.gone(LARGE)  # there is free memory now
    budgeted.engine.cold.add(LARGE)
    budgeted.gateway.fleet.inventory.changed()
    assert model_of(await classify(budgeted, latency_budget_ms=5000)) == LARGE


async def test_what_an_operator_unloads_stays_away_until_it_is_loaded_again(budgeted: FakeGateway) -> None:
    said = await budgeted.admin.post(f"/v1/models/{LARGE}/unload")
    assert said.json() == {"name": LARGE, "state": "withdrawn"}
    assert_problem(await classify(budgeted, model=LARGE), 503, "model-unavailable", field="model")
    assert model_of(await classify(budgeted, latency_budget_ms=5000)) != LARGE
    await asyncio.sleep(0.2)
    assert (await states(budgeted))[LARGE] == "withdrawn"
    assert (await budgeted.admin.post(f"/v1/models/{LARGE}/load")).json() == {"name": LARGE, "state": "loaded"}
    assert model_of(await classify(budgeted, model=LARGE)) == LARGE


async def test_an_operator_s_unload_waits_for_what_runs(budgeted: FakeGateway) -> None:
    budgeted.engine.delay_s = 0.4
    running = asyncio.create_task(classify(budgeted, model=LARGE))
    await asyncio.sleep(0.1)
    unloading = asyncio.create_task(budgeted.admin.post(f"/v1/models/{LARGE}/unload"))
    await asyncio.sleep(0.1)
    assert_problem(await classify(budgeted, model=LARGE), 503, "model-unavailable", field="model")
    assert not unloading.done()
    assert model_of(await running) == LARGE
    assert (await unloading).json()["state"] == "withdrawn"


async def test_an_operator_s_unload_ends_the_wait_of_who_asked_for_it(budgeted: FakeGateway) -> None:
    budgeted.engine.delay_s = 0.5
    running = [asyncio.create_task(classify(budgeted, model=name)) for name in (SMALL, LARGE)]
    await asyncio.sleep(0.1)
    waiting = asyncio.create_task(classify(budgeted, model=MIDDLE))  # nobody can make room for it now
    await asyncio.sleep(0.1)
    await budgeted.admin.post(f"/v1/models/{MIDDLE}/unload")
    assert_problem(await waiting, 503, "model-unavailable", field="model")
    assert [model_of(await task) for task in running] == [SMALL, LARGE]
    assert (await states(budgeted))[MIDDLE] == "withdrawn"


async def test_a_cascade_s_models_both_stay_while_it_runs(budgeted: FakeGateway) -> None:
    budgeted.engine.delay_s_by_model = {SMALL: 0.3}
    cascade = asyncio.create_task(classify(budgeted, latency_budget_ms=5000, strategy="cascade"))
    await asyncio.sleep(0.1)
    middle = asyncio.create_task(classify(budgeted, model=MIDDLE))
    assert model_of(await cascade) in (SMALL, LARGE)
    assert model_of(await middle) == MIDDLE


async def test_a_model_that_cannot_be_loaded_is_refused_alone(budgeted: FakeGateway) -> None:
    budgeted.engine.refusing.add(MIDDLE)
    assert_problem(await classify(budgeted, model=MIDDLE), 503, "model-unavailable", field="model")
    await until(budgeted, lambda now: now[MIDDLE] == "refused")
    assert await budgeted.metric('vision_model_refused{model="middle",reason="graph"}') == 1.0
    assert model_of(await classify(budgeted, model=SMALL)) == SMALL
    budgeted.engine.refusing.clear()
    assert (await budgeted.admin.post(f"/v1/models/{MIDDLE}/load")).json()["state"] == "loaded"


async def test_what_another_gateway_unloaded_is_loaded_again(budgeted: FakeGateway) -> None:
    budgeted.engine.cold.add(LARGE)
    assert model_of(await classify(budgeted, model=LARGE)) == LARGE


async def test_a_model_larger_than_the_budget_is_refused() -> None:
    engine = FakeEngine([classifier(SMALL), classifier(LARGE, onnx_bytes=10**9)])
    engine.cold = {SMALL, LARGE}
    settings = Settings(workers=1, memory_budget_bytes=10**8, poll_interval_s=0.05)
    async with FakeGateways(settings, engine) as opened:
        await until(opened, lambda now: now == {SMALL: "loaded", LARGE: "refused"})
        assert_problem(await classify(opened, model=LARGE), 503, "model-unavailable", field="model")
        assert await opened.metric('vision_model_refused{model="large",reason="too-large"}') == 1.0


async def test_without_a_budget_only_operators_load_and_unload() -> None:
    engine = FakeEngine([classifier(SMALL), classifier(LARGE, accuracy=80.0)])
    async with FakeGateways(Settings(workers=1, poll_interval_s=0.05), engine) as opened:
        assert await states(opened) == {SMALL: "loaded", LARGE: "loaded"}
        assert (await opened.admin.post(f"/v1/models/{LARGE}/unload")).json()["state"] == "withdrawn"
        assert model_of(await classify(opened, latency_budget_ms=5000)) == SMALL
        engine.cold.add(SMALL)  # by somebody else: it is not this gateway's to bring back
        await until(opened, lambda now: SMALL not in now)
        assert_problem(await opened.admin.post("/v1/models/nobody/load"), 404, "unknown-model", field="model")
        assert (await opened.admin.post(f"/v1/models/{SMALL}/load")).json()["state"] == "loaded"


class SlowToUnload(FakeEngine):
    """As Triton's Python backend, which takes seconds to give a process up."""

    async def unload_model(self, name: str) -> None:
        await asyncio.sleep(1.0)
        await super().unload_model(name)


async def test_who_waits_for_a_load_is_told_of_the_unload_that_makes_room_as_well() -> None:
    settings = Settings(workers=2, memory_budget_bytes=int(2.5 * estimated_bytes(classifier())), probe_after_s=0)
    async with FakeGateways(settings, engine_of_three(SlowToUnload)) as opened:
        await until(opened, lambda states: list(states.values()).count("loaded") == 2)
        for name in (MIDDLE, SMALL, LARGE):
            assert model_of(await classify(opened, model=name)) == name
        assert (await states(opened))[MIDDLE] == "cold"
        refused = await classify(opened, model=MIDDLE, latency_budget_ms=300)
        assert refused.status_code == 503, refused.text
        assert refused.json()["retry_after_s"] >= 0.5


@pytest.fixture
async def roomy() -> AsyncIterator[FakeGateway]:
    """All three are in memory; loads have taken next to no time so far."""
    settings = Settings(
        workers=2, memory_budget_bytes=int(3.5 * estimated_bytes(classifier())), poll_interval_s=0.05, probe_after_s=0
    )
    async with FakeGateways(settings, engine_of_three()) as opened:
        await until(opened, lambda now: set(now.values()) == {"loaded"})
        yield opened


async def begin_to_load(gateway: FakeGateway, name: str, load_s: float) -> None:
    """It has left memory, and comes back, later than anybody expects."""
    gateway.engine.load_s = load_s
    gateway.engine.cold.add(name)
    gateway.gateway.fleet.inventory.lost(name)
    gateway.gateway.fleet.inventory.loads.want(name)
    await until(gateway, lambda now: now[name] == "loading")


async def test_a_load_that_is_overdue_keeps_nobody_from_a_model_that_is_there(roomy: FakeGateway) -> None:
    await begin_to_load(roomy, LARGE, load_s=3.0)
    answers = await asyncio.gather(*(classify(roomy, latency_budget_ms=600) for _ in range(4)))
    assert [model_of(answer) for answer in answers] == [MIDDLE] * 4
    assert (await states(roomy))[LARGE] == "loading"
    # Now it is known to be late, and no nearer its end than it was: nobody waits for it any more.
    assert roomy.gateway.fleet.load_s(roomy.gateway.fleet.card(LARGE)) > 0.05
    assert model_of(await classify(roomy, latency_budget_ms=600)) == MIDDLE
    assert_problem(await classify(roomy, model=LARGE, latency_budget_ms=300), 503, "model-loading", field="model")


async def test_a_cascade_begins_with_a_model_in_memory_and_loses_none() -> None:
    """`cheap` is about as good and would be asked first, were it there."""
    engine = FakeEngine([classifier("good", accuracy=80.0, run_ms=8.0), classifier("cheap", accuracy=79.9, run_ms=2.0)])
    settings = Settings(workers=2, memory_budget_bytes=int(2.5 * estimated_bytes(classifier())), probe_after_s=0)
    async with FakeGateways(settings, engine) as opened:
        await until(opened, lambda now: set(now.values()) == {"loaded"})
        await begin_to_load(opened, "cheap", load_s=3.0)
        for _ in range(3):
            assert model_of(await classify(opened, latency_budget_ms=1000, strategy="cascade")) == "good"
        assert await states(opened) == {"good": "loaded", "cheap": "loading"}


class HoldsOn(FakeEngine):
    """A server that is asked to let go of a model, and is away."""

    asked = 0

    async def unload_model(self, name: str) -> None:
        self.asked += 1
        raise EngineUnavailable("the inference server does not answer")


async def test_an_eviction_that_fails_is_tried_again_ever_less_often() -> None:
    engine = engine_of_three(HoldsOn)
    assert isinstance(engine, HoldsOn)
    engine.cold.clear()  # all three are there already, one more than there is room for
    settings = Settings(workers=1, memory_budget_bytes=int(2.5 * estimated_bytes(classifier())), poll_interval_s=0.05)
    async with FakeGateways(settings, engine) as opened:
        await asyncio.sleep(1.0)
        assert 1 <= engine.asked <= 6
        assert model_of(await classify(opened, model=LARGE)) == LARGE
