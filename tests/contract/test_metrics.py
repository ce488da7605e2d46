"""What Prometheus sees is what happened."""

from __future__ import annotations

import re
from typing import get_args

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from service.metrics import DURATION_BUCKETS_S
from service.settings import Settings, Tier
from tests.conftest import FakeGateway
from tests.pictures import encoded, photograph

JPEG = {"Content-Type": "image/jpeg"}
GOOD = encoded(photograph())


async def samples(gateway: FakeGateway) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample of /metrics by name and sorted labels, through the OpenMetrics parser."""
    text = (await gateway.admin.get("/metrics")).text
    families = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


async def ask(gateway: FakeGateway, url: str, status: int, *, body: bytes = GOOD, times: int = 1) -> None:
    for _ in range(times):
        response = await gateway.client.post(url, content=body, headers=JPEG)
        assert response.status_code == status, response.text


async def test_requests_are_counted_by_how_they_ended(fake_gateway: FakeGateway) -> None:
    engine = fake_gateway.engine
    await ask(fake_gateway, "/v1/classify?tier=batch", 200, times=3)
    await ask(fake_gateway, "/v1/embed?tier=batch", 200, times=2)
    await ask(fake_gateway, "/v1/classify?tier=batch", 415, body=b"text", times=2)
    await ask(fake_gateway, "/v1/classify?tier=batch", 400, body=b"")
    await ask(fake_gateway, "/v1/classify?model=nobody", 404)
    await ask(fake_gateway, "/v1/classify?latency_budget_ms=0.5", 422, times=2)
    engine.wait_s = 1000.0
    await ask(fake_gateway, "/v1/classify?tier=batch", 503, times=4)
    engine.wait_s = 0.0
    engine.failing = {"fake_small", "fake_large"}
    await ask(fake_gateway, "/v1/classify?tier=batch", 500)
    engine.failing = set()
    engine.delay_s = 3.0
    await ask(fake_gateway, "/v1/classify?model=fake_small&latency_budget_ms=500", 504)
    seen = await samples(fake_gateway)
    counted = {
        tuple(value for _, value in labels): count  # outcome, task, tier
        for (name, labels), count in seen.items()
        if name == "vision_requests_total"
    }
    assert counted == {
        ("ok", "classify", "batch"): 3,
        ("ok", "embed", "batch"): 2,
        ("invalid", "classify", "batch"): 3,
        ("invalid", "classify", "none"): 1,
        ("infeasible", "classify", "custom"): 2,
        ("shed", "classify", "batch"): 4,
        ("error", "classify", "batch"): 1,
        ("late", "classify", "custom"): 1,
    }
    assert sum(counted.values()) == sum(
        value for (name, _), value in seen.items() if name == "vision_request_duration_seconds_count"
    )


async def test_pictures_are_counted_by_model_and_attainment_by_tier(fake_gateway: FakeGateway) -> None:
    files = [("file", (f"{i}.jpg", GOOD)) for i in range(3)]
    response = await fake_gateway.client.post("/v1/classify?model=fake_large", files=files)
    assert response.status_code == 200
    await ask(fake_gateway, "/v1/classify?model=fake_small&tier=batch", 200)
    seen = await samples(fake_gateway)
    engine = (("backend", "onnxruntime"),)
    for model, count in (("fake_large", 3), ("fake_small", 1)):
        labels = tuple(sorted((*engine, ("model", model), ("precision", "fp32"), ("task", "classify"))))
        assert seen["vision_images_total", labels] == count
    batch = (("task", "classify"), ("tier", "batch"))
    assert seen["vision_slo_requests_total", batch] == seen["vision_slo_met_total", batch] == 1
    assert seen["vision_effective_accuracy_sum_total", batch] == 70.0


async def test_a_tier_whose_every_request_misses_is_seen_to_miss(fake_gateway: FakeGateway) -> None:
    fake_gateway.engine.wait_s = 1000.0
    await ask(fake_gateway, "/v1/classify?tier=batch", 503, times=2)
    seen, batch = await samples(fake_gateway), (("task", "classify"), ("tier", "batch"))
    assert seen["vision_slo_requests_total", batch] == 2
    assert seen["vision_slo_met_total", batch] == seen["vision_effective_accuracy_sum_total", batch] == 0


async def test_models_are_described_and_their_readiness_said(fake_gateway: FakeGateway) -> None:
    assert await fake_gateway.metric('vision_model_ready{model="fake_small"}') == 1.0
    fake_gateway.engine.available = False
    await ask(fake_gateway, "/v1/classify?tier=batch", 503)
    assert await fake_gateway.metric('vision_model_ready{model="fake_small"}') == 0.0
    assert any(name == "vision_model_info" for name, _ in await samples(fake_gateway))


async def test_the_page_is_openmetrics_of_our_names_in_base_units(fake_gateway: FakeGateway) -> None:
    await ask(fake_gateway, "/v1/classify?tier=batch", 200)
    page = await fake_gateway.admin.get("/metrics")
    assert page.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert page.text.endswith("# EOF\n")
    for family in text_string_to_metric_families(page.text):  # type: ignore[no-untyped-call]
        assert re.fullmatch(r"vision_[a-z_]+", family.name)
        assert family.documentation
        assert not family.name.endswith(("_ms", "_milliseconds"))


@pytest.mark.parametrize("tier", get_args(Tier))
async def test_every_tier_s_budget_is_a_bucket_edge(fake_gateway: FakeGateway, tier: Tier) -> None:
    edge_s = Settings().tier_budget_ms(tier) / 1e3
    assert edge_s in DURATION_BUCKETS_S
    await ask(fake_gateway, "/v1/classify?tier=batch", 200)
    edges = {
        float(dict(labels)["le"])
        for name, labels in await samples(fake_gateway)
        if name == "vision_request_duration_seconds_bucket"
    }
    assert edge_s in edges


async def test_two_gateways_in_one_process_do_not_mix(fake_gateway: FakeGateway) -> None:
    from service.engines.fake import FakeEngine
    from tests.cards import classifier
    from tests.conftest import FakeGateways

    await ask(fake_gateway, "/v1/classify?tier=batch", 200)
    async with FakeGateways(Settings(workers=1), FakeEngine([classifier()])) as other:
        assert await other.metric('vision_requests_total{outcome="ok",task="classify",tier="batch"}') == 0.0
        assert await other.metric("vision_in_flight_requests") == 0.0


async def test_every_problem_is_counted_even_what_no_route_saw(fake_gateway: FakeGateway) -> None:
    await ask(fake_gateway, "/v1/classify?top_k=0", 422, times=2)
    await ask(fake_gateway, "/nowhere", 404)
    seen = await samples(fake_gateway)
    assert seen["vision_problems_total", (("code", "invalid-parameter"), ("status", "422"))] == 2.0
    assert seen["vision_problems_total", (("code", "not-found"), ("status", "404"))] == 1.0
