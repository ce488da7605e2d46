"""Who is let in, how often, to what: through HTTP, on the whole app."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import re
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from evaluation.client import Gateway as EvaluatedGateway
from service.app import create_app
from service.doors import OpenDoors
from service.engines.fake import FakeEngine
from service.keys import InvalidKeys, key_sha256
from service.security_headers import SECURITY_HEADERS
from service.settings import Settings
from tests.cards import classifier
from tests.conftest import FakeGateway, FakeGateways
from tests.contract.problem import assert_problem
from tests.pictures import encoded, photograph

JPEG = {"Content-Type": "image/jpeg"}
PICTURE = encoded(photograph())
# Nothing here is about being in time, and the machine may do other things: as the real ones, but in seconds.
TIERS: dict[str, Any] = {
    "tier_interactive_ms": 5_000,
    "tier_standard_ms": 15_000,
    "tier_relaxed_ms": 20_000,
    "tier_batch_ms": 30_000,
}
KEYS: dict[str, dict[str, Any]] = {
    "vg_all": {},
    "vg_slow": {"rate_per_s": 0.5, "burst": 3},
    "vg_quick": {"max_tier": "interactive"},
    "vg_tight": {"max_budget_ms": 7_000},
    "vg_embeds": {"tasks": ["embed"]},
    "vg_labels": {"tasks": ["classify"]},
    "vg_flood": {},
}


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def keys_file(folder: Path) -> str:
    lines = [json.dumps({"name": key[3:], "sha256": key_sha256(key), **rest}) for key, rest in KEYS.items()]
    (folder / "keys.jsonl").write_text("\n".join(lines))
    return str(folder / "keys.jsonl")


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[FakeGateway]:
    """A gateway with keys, beyond the loopback."""
    settings = Settings(host="0.0.0.0", api_keys_file=keys_file(tmp_path), workers=1, max_in_flight=8, **TIERS)
    cards = [classifier("fake_large", accuracy=76.0, run_ms=4.0), classifier("fake_small", accuracy=70.0, run_ms=2.0)]
    async with FakeGateways(settings, FakeEngine(cards)) as opened:
        yield opened


async def classify(gateway: FakeGateway, headers: dict[str, str], query: str = "") -> httpx.Response:
    return await gateway.client.post(f"/v1/classify?{query}", content=PICTURE, headers={**JPEG, **headers})


# --- who


@pytest.mark.parametrize("headers", [bearer("vg_all"), {"X-API-Key": "vg_all"}, {"authorization": "bearer  vg_all "}])
async def test_a_key_opens_the_door(guarded: FakeGateway, headers: dict[str, str]) -> None:
    assert (await classify(guarded, headers)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer("vg_nobody"),
        bearer("vg_al"),
        bearer("vg_all2"),
        bearer(key_sha256("vg_all")),
        bearer(""),
        {"X-API-Key": ""},
        {"Authorization": "vg_all"},
        {"Authorization": "Basic dmdfYWxsOg=="},
        {**bearer("vg_all"), "X-API-Key": "vg_slow"},
        {"Authorization": "Bearer \xff\xfe"},
    ],
    ids=str,
)
async def test_without_the_right_key_it_is_401_and_says_how(guarded: FakeGateway, headers: dict[str, str]) -> None:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in {**JPEG, **headers}.items()]
    response = await guarded.client.post("/v1/classify", content=PICTURE, headers=raw)
    limit = response.json().get("limit")
    assert_problem(response, 401, "unauthorized", field="Authorization", limit=limit)
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="vision-gateway"'


@pytest.mark.parametrize(
    "url",
    ["/v1/models", "/v1/models/fake_small", "/docs", "/openapi.json", "/redoc", "/nowhere", "/metrics"],
)
async def test_everything_is_closed_even_what_is_not_there(guarded: FakeGateway, url: str) -> None:
    assert_problem(await guarded.client.get(url), 401, "unauthorized", field="Authorization")


@pytest.mark.parametrize("url", ["/v2", "/v2/models/fake_small", "/v2/models"])
async def test_tensors_are_closed_in_the_words_of_their_protocol(guarded: FakeGateway, url: str) -> None:
    response = await guarded.client.get(url)
    assert response.status_code == 401
    assert "a key is needed" in response.json()["error"]


@pytest.mark.parametrize(
    "url", ["/", "/frontier", "/live", "/console/", "/console/js/try.js", "/health/live", "/v2/health/ready"]
)
async def test_health_and_the_console_s_files_are_open(guarded: FakeGateway, url: str) -> None:
    assert (await guarded.client.get(url)).status_code in (200, 404)


async def test_a_body_is_not_read_before_its_key(guarded: FakeGateway) -> None:
    asked = False

    async def body() -> AsyncIterator[bytes]:
        nonlocal asked
        asked = True
        yield PICTURE

    response = await guarded.client.post("/v1/classify", content=body(), headers=JPEG)
    assert response.status_code == 401
    assert not asked


async def test_the_openapi_document_says_how_a_key_is_sent(guarded: FakeGateway) -> None:
    document = (await guarded.client.get("/openapi.json", headers=bearer("vg_all"))).json()
    schemes = document["components"]["securitySchemes"]
    assert schemes["bearer"] == {"type": "http", "scheme": "bearer"}
    assert schemes["header"] == {"type": "apiKey", "in": "header", "name": "X-API-Key"}
    assert document["security"] == [{"bearer": []}, {"header": []}]


# --- where nobody needs a key


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "gateway.example", ""])
def test_beyond_the_loopback_a_gateway_without_keys_does_not_start(host: str) -> None:
    with pytest.raises(OpenDoors, match=r"VISION_API_KEYS_FILE.*VISION_ALLOW_ANONYMOUS=true"):
        create_app(Settings(host=host), FakeEngine([]))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_on_the_loopback_it_does(host: str) -> None:
    create_app(Settings(host=host), FakeEngine([]))


async def test_anonymous_beyond_the_loopback_has_to_be_asked_for(tmp_path: Path) -> None:
    settings = Settings(host="0.0.0.0", allow_anonymous=True, workers=1, **TIERS)
    async with FakeGateways(settings, FakeEngine([classifier()])) as gateway:
        assert (await classify(gateway, {})).status_code == 200
        assert (await classify(gateway, bearer("anything"))).status_code == 200, "there is nothing to compare it with"
    both = settings.model_copy(update={"api_keys_file": keys_file(tmp_path)})
    async with FakeGateways(both, FakeEngine([classifier()])) as gateway:
        assert (await classify(gateway, {})).status_code == 200
        assert (await classify(gateway, bearer("anything"))).status_code == 401, "a wrong key is no way to be nobody"


def test_a_keys_file_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(InvalidKeys):
        create_app(Settings(api_keys_file=str(tmp_path / "absent")), FakeEngine([]))


async def test_a_keys_file_without_keys_lets_nobody_in(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("# none yet\n")
    async with FakeGateways(Settings(api_keys_file=str(tmp_path / "keys")), FakeEngine([classifier()])) as gateway:
        assert (await classify(gateway, {})).status_code == 401


# --- how often


async def test_a_key_s_rate_is_its_own(guarded: FakeGateway) -> None:
    statuses = [(await classify(guarded, bearer("vg_slow"))).status_code for _ in range(5)]
    assert statuses == [200, 200, 200, 429, 429]
    refused = await classify(guarded, bearer("vg_slow"))
    limit = "0.5 requests a second, 3 at once"
    document = assert_problem(refused, 429, "rate-limited", field="Authorization", limit=limit)
    assert 0 < document["retry_after_s"] <= 2
    assert refused.headers["Retry-After"] in ("1", "2")
    assert (await classify(guarded, bearer("vg_all"))).status_code == 200


async def test_without_a_key_the_rate_is_the_address_s() -> None:
    settings = Settings(workers=1, anonymous_rate_per_s=0.1, anonymous_burst=2)
    app = create_app(settings, FakeEngine([classifier()]))

    async def statuses(host: str) -> list[int]:
        transport = httpx.ASGITransport(app, client=(host, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            return [(await client.get("/v1/models")).status_code for _ in range(3)]

    assert await statuses("192.0.2.1") == [200, 200, 429]
    assert await statuses("192.0.2.2") == [200, 200, 429]
    assert await statuses("2001:db8::1") == [200, 200, 429]
    assert await statuses("2001:db8::2") == [429, 429, 429], "one network of IPv6 is one address"


# --- what


@pytest.mark.parametrize(
    ("key", "query", "field", "limit"),
    [
        ("vg_quick", "tier=standard", "tier", "5000 ms"),
        ("vg_quick", "latency_budget_ms=5001", "latency_budget_ms", "5000 ms"),
        ("vg_tight", "tier=batch", "tier", "7000 ms"),
        ("vg_embeds", "", "Authorization", "embed"),
    ],
)
async def test_beyond_its_ceiling_a_key_gets_403(
    guarded: FakeGateway, key: str, query: str, field: str, limit: str
) -> None:
    assert_problem(await classify(guarded, bearer(key), query), 403, "forbidden", field=field, limit=limit)
    assert await guarded.metric("vision_in_flight_requests") == 0


@pytest.mark.parametrize(
    ("key", "query", "tier", "budget_ms"),
    [
        ("vg_quick", "tier=interactive", "interactive", 5_000),
        ("vg_quick", "", "interactive", 5_000),
        ("vg_quick", "model=fake_small", "none", 5_000),
        ("vg_tight", "", "custom", 7_000),
        ("vg_all", "", "standard", 15_000),
    ],
)
async def test_what_a_key_did_not_ask_for_stays_below_its_ceiling(
    guarded: FakeGateway, key: str, query: str, tier: str, budget_ms: float
) -> None:
    """Asked of /v1/route, which runs nothing that could be late on a busy machine."""
    looked = (await guarded.client.post(f"/v1/route?{query}", headers=bearer(key))).json()
    assert (looked["routing"]["tier"], looked["routing"]["budget_ms"]) == (tier, budget_ms), looked


async def test_a_key_for_embeddings_embeds(guarded: FakeGateway) -> None:
    answer = await guarded.client.post("/v1/embed", content=PICTURE, headers={**JPEG, **bearer("vg_embeds")})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("key", "outputs", "status"),
    [
        ("vg_embeds", ["embedding"], 200),
        ("vg_embeds", ["probabilities"], 403),
        ("vg_embeds", ["embedding", "probabilities"], 403),
        ("vg_embeds", [], 403),
        ("vg_labels", ["probabilities"], 200),
        ("vg_labels", ["embedding"], 403),
        ("vg_labels", [], 403),
        ("vg_all", [], 200),
    ],
)
async def test_a_key_s_tasks_hold_for_tensors_output_by_output(
    guarded: FakeGateway, key: str, outputs: list[str], status: int
) -> None:
    card = next(card for card in await guarded.engine.cards() if card.name == "fake_small")
    shape = [1, *card.resize.size_hw, 3]
    image = {"name": "image", "datatype": "UINT8", "shape": shape, "data": [0] * math.prod(shape)}
    body = {"inputs": [image], **({"outputs": [{"name": name} for name in outputs]} if outputs else {})}
    answer = await guarded.client.post("/v2/models/fake_small/infer", json=body, headers=bearer(key))
    assert answer.status_code == status, answer.text
    if status == 403:
        assert answer.json()["error"].endswith(f"it may {', '.join(KEYS[key]['tasks'])}")


# --- fairness


async def test_a_key_that_floods_does_not_starve_another(guarded: FakeGateway) -> None:
    """Eight permits; the flood alone holds seven, and the other key's requests are all answered meanwhile."""
    guarded.engine.delay_s = 0.05
    stop = asyncio.Event()
    flooded: Counter[int] = Counter()

    async def flood() -> None:
        while not stop.is_set():
            flooded[(await classify(guarded, bearer("vg_flood"), "model=fake_small")).status_code] += 1
            await asyncio.sleep(0)  # a refusal waits for nothing, and there is no network here that would

    floods = [asyncio.create_task(flood()) for _ in range(24)]
    await asyncio.sleep(0.3)
    others = [(await classify(guarded, bearer("vg_all"), "model=fake_small")).status_code for _ in range(10)]
    stop.set()
    await asyncio.gather(*floods)
    assert others == [200] * 10
    assert flooded[503] > 0, "there was no flood: the test shows nothing"
    assert flooded[200] > 0
    assert await guarded.metric("vision_in_flight_requests") == 0


async def test_who_presses_on_somebody_who_was_late_is_told_that_others_come_first(guarded: FakeGateway) -> None:
    permits = guarded.app.state.gateway.pipeline.permits
    while permits.take("flood"):
        pass
    assert permits.take("all")
    permits.missed("all")
    answer = await classify(guarded, bearer("vg_flood"), "tier=batch")
    document = assert_problem(answer, 503, "over-fair-share", limit="1 of one client while others wait")
    assert document["detail"].startswith(f"{permits.held('flood')} requests of yours")
    permits.give("all")
    permits.give("flood")
    assert (await classify(guarded, bearer("vg_all"), "tier=batch")).status_code == 200


# --- the admin port


async def test_metrics_are_on_the_admin_port_only(fake_gateway: FakeGateway) -> None:
    assert_problem(await fake_gateway.client.get("/metrics"), 404, "not-found")
    assert (await fake_gateway.admin.get("/metrics")).status_code == 200
    for url in ("/v1/models", "/docs", "/v1/classify"):
        assert (await fake_gateway.admin.get(url)).status_code == 404, "nor is the API on the admin port"


async def test_the_admin_port_is_not_for_web_pages(fake_gateway: FakeGateway) -> None:
    answer = await fake_gateway.admin.get("/metrics", headers={"Origin": "https://evil.example"})
    assert_problem(answer, 403, "forbidden", field="Origin")


# --- what every answer has


@pytest.mark.parametrize("url", ["/v1/models", "/health/live", "/nowhere", "/openapi.json", "/bug", "/v1/classify"])
async def test_every_answer_has_the_security_headers_and_none_of_cors(fake_gateway: FakeGateway, url: str) -> None:
    @fake_gateway.app.get("/bug")
    async def fail() -> None:
        raise RuntimeError

    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    for method in ("GET", "OPTIONS"):
        answer = await fake_gateway.client.request(method, url, headers=headers)
        for name, value in SECURITY_HEADERS.items():
            assert answer.headers.get_list(name) == [value], (method, name)
        assert not any(name.startswith("access-control") for name in answer.headers)
        assert "server" not in answer.headers
    page = await fake_gateway.admin.get("/metrics")
    assert page.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_page_keeps_its_own_content_security_policy(fake_gateway: FakeGateway) -> None:
    from starlette.responses import HTMLResponse

    own = "default-src 'self'"

    @fake_gateway.app.get("/page")
    async def page() -> HTMLResponse:
        return HTMLResponse("<p>", headers={"Content-Security-Policy": own})

    answer = await fake_gateway.client.get("/page")
    assert answer.headers.get_list("Content-Security-Policy") == [own]
    assert answer.headers["X-Frame-Options"] == "DENY"


async def test_the_docs_page_may_load_what_it_loads_and_nothing_else(fake_gateway: FakeGateway) -> None:
    answer = await fake_gateway.client.get("/docs")
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    for address in re.findall(r'(?:src|href)="(https://[^/"]+)', answer.text):
        assert address in policy


# --- the log


async def test_the_access_log_names_route_parameters_and_key_but_repeats_nothing(
    guarded: FakeGateway, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "s3cret-of-the-client"
    with caplog.at_level(logging.DEBUG):
        query = f"tier=interactive&top_k=2&{secret}={secret}"
        await classify(guarded, bearer("vg_quick"), query)
        await classify(guarded, bearer("vg_quick"), "tier=interactive&top_k=2")
        await guarded.client.get(f"/v1/models/{secret}?api_key={secret}", headers={"X-API-Key": "vg_quick"})
        await guarded.client.get(f"/{secret}", headers=bearer(secret))
    lines = [record.getMessage() for record in caplog.records if record.name == "vision.access"]
    assert len(lines) == 4
    assert lines[1].startswith("POST /v1/classify?tier&top_k 200 ")
    assert lines[1].endswith(" client=quick")
    assert lines[2].startswith("GET /v1/models/{name}?… ")
    assert lines[3].startswith("GET - 401 ")
    for record in (record for record in caplog.records if record.name != "httpx"):  # the client's own
        message = record.getMessage()
        assert secret not in message
        assert "vg_" not in message


async def test_the_access_log_can_be_switched_off(caplog: pytest.LogCaptureFixture) -> None:
    async with FakeGateways(Settings(access_log=False, workers=1), FakeEngine([classifier()])) as gateway:
        with caplog.at_level(logging.DEBUG):
            await classify(gateway, {})
    assert not [record for record in caplog.records if record.name == "vision.access"]


async def test_the_admin_port_and_the_public_one_have_no_address_in_common(fake_gateway: FakeGateway) -> None:
    public = (await fake_gateway.client.get("/openapi.json")).json()["paths"].keys()
    admin = (await fake_gateway.admin.get("/openapi.json")).json()["paths"].keys()
    assert "/metrics" in admin
    assert not public & admin


@pytest.mark.parametrize("key", ["vg_of_the_operator", None])
def test_vision_eval_sends_the_key_of_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, json={"model": {"name": "a"}, "timing_ms": {"total": 1.0}})

    class Wired(httpx.Client):
        def __init__(self, **options: Any) -> None:
            super().__init__(transport=httpx.MockTransport(answer), **options)

    monkeypatch.setattr("evaluation.client.httpx.Client", Wired)
    if key:
        monkeypatch.setenv("VISION_API_KEY", key)
    (tmp_path / "a.jpg").write_bytes(PICTURE)
    pictures = [("a", tmp_path / "a.jpg")]
    EvaluatedGateway("http://gateway", {}).ask("classify", pictures, lambda name, document: None, Console(quiet=True))
    assert [request.headers.get("authorization") for request in sent] == [f"Bearer {key}" if key else None]
