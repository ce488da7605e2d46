"""The latency budget through HTTP: what is chosen, refused, dropped, handed over late, hedged, asked again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest

from service.engines.fake import FakeEngine
from service.engines.protocol import Job, Outputs
from service.image_header import ImageHeader
from service.latency import Estimates
from service.settings import Settings
from service.variants import Variants
from tests.cards import classifier
from tests.conftest import FakeGateway, FakeGateways
from tests.pictures import encoded, photograph

JPEG = {"Content-Type": "image/jpeg"}
PICTURE = encoded(photograph("chelsea"), "JPEG")
LARGE, MIDDLE, SMALL = "fake_large", "fake_middle", "fake_small"


@pytest.fixture
async def gateway() -> AsyncIterator[FakeGateway]:
    """Three models: 80 % in 1000 ms, 75 % in 300 ms, 70 % in 60 ms, as profiled; in truth they answer at once."""
    cards = [
        classifier(LARGE, accuracy=80.0, run_ms=1000.0),
        classifier(MIDDLE, accuracy=75.0, run_ms=300.0),
        classifier(SMALL, accuracy=70.0, run_ms=60.0),
        classifier("fake_random", accuracy=None, run_ms=1.0),
    ]
    async with FakeGateways(Settings(workers=2, probe_after_s=0), FakeEngine(cards)) as opened:
        yield opened


async def ask(gateway: FakeGateway, path: str = "/v1/classify", **params: Any) -> httpx.Response:
    return await gateway.client.post(path, params=params, content=PICTURE, headers=JPEG)


@pytest.mark.parametrize(("tier", "model"), [("standard", SMALL), ("relaxed", MIDDLE), ("batch", LARGE)])
async def test_a_longer_tier_brings_a_better_model(gateway: FakeGateway, tier: str, model: str) -> None:
    answer = (await ask(gateway, tier=tier)).json()
    assert answer["model"]["name"] == model
    assert answer["routing"]["tier"] == tier
    assert answer["routing"]["predicted_ms"] <= answer["routing"]["budget_ms"]


async def test_the_default_is_standard_and_a_named_model_has_no_tier(gateway: FakeGateway) -> None:
    assert (await ask(gateway)).json()["routing"]["tier"] == "standard"
    named = (await ask(gateway, model=LARGE)).json()["routing"]
    assert (named["tier"], named["reason"]) == ("none", "pinned")


async def test_the_budget_may_come_as_a_header(gateway: FakeGateway) -> None:
    headers = {**JPEG, "X-Latency-Budget-Ms": "600"}
    answer = await gateway.client.post("/v1/classify", content=PICTURE, headers=headers)
    assert answer.json()["routing"]["budget_ms"] == 600.0
    assert answer.json()["model"]["name"] == MIDDLE


async def test_untrained_models_are_never_chosen_and_warn_when_named(gateway: FakeGateway) -> None:
    listed = (await ask(gateway, "/v1/route", tier="batch")).json()["candidates"]
    assert "fake_random" not in {candidate["model"] for candidate in listed}
    named = (await ask(gateway, model="fake_random")).json()
    assert named["model"]["weights"] == "untrained"
    assert named["model"]["accuracy"] is None
    assert named["warnings"]


async def test_an_accuracy_floor_is_kept_or_refused(gateway: FakeGateway) -> None:
    assert (await ask(gateway, latency_budget_ms=600, min_accuracy=75)).json()["model"]["name"] == MIDDLE
    impossible = await ask(gateway, min_accuracy=99)
    assert impossible.status_code == 422
    assert impossible.json()["type"].endswith("accuracy-unsatisfiable")
    too_slow = await ask(gateway, latency_budget_ms=600, min_accuracy=80)
    assert too_slow.status_code == 422
    assert too_slow.json()["type"].endswith("budget-unsatisfiable")


async def test_the_dry_run_explains_every_candidate_and_runs_nothing(gateway: FakeGateway) -> None:
    route = (await ask(gateway, "/v1/route", latency_budget_ms=600)).json()
    assert route["model"] == MIDDLE
    assert [candidate["model"] for candidate in route["candidates"]] == [LARGE, MIDDLE, SMALL]
    assert "predicted" in route["candidates"][0]["why_not"]
    assert route["candidates"][1]["chosen"] is True
    assert gateway.engine.jobs == []
    without_picture = await gateway.client.post("/v1/route", params={"tier": "batch"})
    assert without_picture.json()["model"] == LARGE
    assert without_picture.json()["image"] is None
    refused = (await ask(gateway, "/v1/route", latency_budget_ms=0.5)).json()
    assert refused["model"] is None
    assert "0.5 ms" in refused["refused"]


async def test_the_dry_run_with_a_picture_explains_also_what_would_be_refused_under_load(gateway: FakeGateway) -> None:
    gateway.gateway.pipeline.busy_from = -1  # as if every worker had something to do
    permits = gateway.gateway.pipeline.permits
    permits.take = lambda client: pytest.fail("a dry run takes no place")  # type: ignore[method-assign]
    route = await ask(gateway, "/v1/route", latency_budget_ms=0.5)
    assert route.status_code == 200, route.text
    assert "0.5 ms" in route.json()["refused"]


async def test_a_loaded_machine_degrades_then_refuses_with_retry_after(gateway: FakeGateway) -> None:
    # The large model takes 1000 ms typically, and is predicted to stay below 1300.
    hasty: dict[str, Any] = {"latency_budget_ms": 1300, "min_accuracy": 80}
    assert (await ask(gateway, **hasty, on_infeasible="reject")).status_code == 503
    degraded = (await ask(gateway, **hasty)).json()["routing"]
    assert (degraded["reason"], degraded["degraded"]) == ("degraded", True)
    gateway.engine.wait_s = 0.2  # others would wait for a miss: nothing is tried that may not make it
    assert (await ask(gateway, **hasty, on_infeasible="reject")).status_code == 503
    gateway.engine.wait_s = 2.3
    refused = await ask(gateway, latency_budget_ms=150)
    assert refused.status_code == 503
    assert refused.json()["type"].endswith("deadline-infeasible")
    assert refused.json()["retry_after_s"] == pytest.approx(2.3, abs=0.15)
    assert refused.headers["Retry-After"] == "3"
    assert len(gateway.engine.jobs) == 1


@pytest.mark.parametrize(
    ("wait_s", "statuses"), [(0.3, [200, 200, 200]), (0.6, [200, 200, 503]), (0.9, [200, 503, 503])]
)
async def test_the_least_important_are_shed_first(gateway: FakeGateway, wait_s: float, statuses: list[int]) -> None:
    gateway.engine.wait_s = wait_s
    answers = [await ask(gateway, latency_budget_ms=1000, priority=priority) for priority in (1, 2, 3)]
    assert [answer.status_code for answer in answers] == statuses


async def test_a_missed_budget_is_504_or_handed_over_late(gateway: FakeGateway) -> None:
    gateway.engine.delay_s = 0.5
    missed = await ask(gateway, latency_budget_ms=200)
    assert missed.status_code == 504
    assert missed.json()["type"].endswith("deadline-exceeded")
    late = await ask(gateway, latency_budget_ms=200, late="return")
    assert late.status_code == 200
    assert late.json()["timing_ms"]["total"] > 200
    assert await gateway.metric('vision_requests_total{outcome="late",task="classify",tier="custom"}') == 2.0


async def test_a_late_model_is_hedged_by_the_fastest(gateway: FakeGateway) -> None:
    gateway.engine.delay_s_by_model = {LARGE: 20.0}
    answer = (await ask(gateway, latency_budget_ms=1800)).json()
    assert answer["model"]["name"] == SMALL
    assert answer["routing"]["hedged"] is True
    assert answer["routing"]["degraded"] is True
    assert answer["timing_ms"]["total"] < 1800
    assert await gateway.metric('vision_hedges_total{result="won"}') == 1.0
    on_time = (await ask(gateway, latency_budget_ms=600)).json()
    assert on_time["routing"]["hedged"] is False


async def test_hedges_are_a_small_share_of_the_requests(gateway: FakeGateway) -> None:
    gateway.engine.delay_s_by_model = {LARGE: 20.0}
    answers = await asyncio.gather(*(ask(gateway, latency_budget_ms=1800) for _ in range(12)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses.count(200) == 5  # the bucket's burst
    assert statuses.count(504) == 7


async def test_predictions_learn_from_what_they_see(gateway: FakeGateway) -> None:
    gateway.engine.delay_s_by_model = {SMALL: 0.3}
    await ask(gateway, "/v1/route")  # the first request of a process is slow by itself
    before = (await ask(gateway, "/v1/route", latency_budget_ms=600)).json()["candidates"][2]
    for _ in range(8):
        assert (await ask(gateway, model=SMALL)).status_code == 200
    after = (await ask(gateway, "/v1/route", latency_budget_ms=600)).json()["candidates"][2]
    assert before["model"] == after["model"] == SMALL
    assert after["typical_ms"] - before["typical_ms"] > 100
    assert after["typical_ms"] < 500


class UnsureAboutSmall(FakeEngine):
    """The small model spreads its probabilities when `unsure`."""

    unsure = True

    async def infer(self, job: Job) -> Outputs:
        outputs = await super().infer(job)
        if job.model == SMALL and self.unsure:
            outputs.arrays["probabilities"] = np.full((len(job.pixels), 1000), 0.001, np.float32)
        return outputs


async def test_a_cascade_asks_the_better_model_only_when_the_first_is_unsure() -> None:
    cards = [classifier(LARGE, accuracy=80.0, run_ms=100.0), classifier(SMALL, accuracy=70.0, run_ms=2.0)]
    engine = UnsureAboutSmall(cards)
    async with FakeGateways(Settings(workers=2, probe_after_s=0), engine) as gateway:
        escalated = (await ask(gateway, tier="batch", strategy="cascade")).json()
        assert escalated["model"]["name"] == LARGE
        assert escalated["routing"]["cascade"] == "escalated"
        assert escalated["routing"]["degraded"] is False
        engine.unsure = False
        sure = (await ask(gateway, tier="batch", strategy="cascade")).json()
        assert sure["model"]["name"] == SMALL
        assert sure["routing"]["cascade"] == "sure"
        assert [job.model for job in engine.jobs] == [SMALL, LARGE, SMALL]
        engine.unsure, engine.delay_s_by_model = True, {LARGE: 9.0}
        no_time = (await ask(gateway, latency_budget_ms=500, strategy="cascade")).json()
        assert no_time["model"]["name"] == SMALL
        assert no_time["routing"]["cascade"] == "no-time"


async def test_a_budget_too_short_for_both_goes_straight_to_the_chosen_model(gateway: FakeGateway) -> None:
    route = (await ask(gateway, "/v1/route", latency_budget_ms=600)).json()
    assert route["model"] == MIDDLE
    predicted_ms = route["routing"]["predicted_ms"]
    answer = (await ask(gateway, latency_budget_ms=predicted_ms / 0.9 + 20, strategy="cascade")).json()
    assert answer["model"]["name"] == MIDDLE
    assert answer["routing"]["cascade"] is None


async def test_a_model_that_nobody_asks_for_is_probed_when_idle() -> None:
    engine = FakeEngine([classifier(LARGE, run_ms=4.0)], delay_s=0.02)
    async with FakeGateways(Settings(workers=1, probe_after_s=0.5), engine) as gateway:
        for _ in range(100):
            if engine.jobs:
                break
            await asyncio.sleep(0.05)
        assert [job.model for job in engine.jobs] == [LARGE]
        listed = (await gateway.client.get(f"/v1/models/{LARGE}")).json()
        assert listed["predicted_ms"] > 4.0


async def test_embeddings_of_a_named_model_never_come_from_another_variant_of_it() -> None:
    cards = [
        classifier("net", accuracy=76.0, run_ms=50.0),
        classifier("net_int8", accuracy=76.0, run_ms=5.0, variant_of="net", precision="int8"),
    ]
    async with FakeGateways(Settings(workers=1, probe_after_s=0), FakeEngine(cards)) as gateway:
        assert (await ask(gateway, "/v1/classify", model="net")).json()["model"]["name"] == "net_int8"
        assert (await ask(gateway, "/v1/embed", model="net")).json()["model"]["name"] == "net"
        assert (await ask(gateway, "/v1/embed", model="net_int8")).json()["model"]["name"] == "net_int8"


async def test_a_bad_minute_is_not_remembered_for_ever(gateway: FakeGateway) -> None:
    """All that was learnt says that nobody can be in time, which nobody admitted would ever disprove."""
    predictor, header = gateway.gateway.predictor, ImageHeader("jpeg", 451, 300)
    variants = Variants([classifier(SMALL, accuracy=70.0, run_ms=60.0)])

    def now() -> Estimates:
        return predictor.estimate(variants, [header], spent_ms=0.0, wait_ms=0.0, wait_ms_by_model={}, budget_ms=150.0)

    while float(now().unloaded_ms[0]) < 300.0:
        predictor.observe_request(now().promise(0), took_ms=600.0, worked_ms=60.0)
    statuses = [(await ask(gateway)).status_code for _ in range(3)]
    assert statuses[:2] == [200, 422], "one is tried, the next is refused"
    for _ in range(40):
        await asyncio.sleep(0.05)
        statuses.append((await ask(gateway)).status_code)
    assert statuses[-10:] == [200] * 10
