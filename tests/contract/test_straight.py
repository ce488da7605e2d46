"""The short way to the inference routes answers exactly as FastAPI's own way does."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI

from service import routes, routes_locate
from service.straight import Straight, short_ways
from tests.conftest import FakeGateway
from tests.pictures import PHOTOGRAPHS, encoded, photograph

JPEG = {"Content-Type": "image/jpeg", "X-Request-Id": "the-same"}
QUERIES: list[dict[str, Any]] = [
    {"model": "fake_large"},
    {"model": "fake_large", "top_k": 2, "temperature": 2},
    {"tier": "batch", "min_accuracy": 75},
    {"model": "fake_large", "top_k": 0},
    {"model": "fake_large", "top_k": "many"},
    {"model": "nobody"},
    {"colour": "red"},
    {"tier": "batch", "latency_budget_ms": 5},
    {"model": ["fake_large", "fake_small"]},
    {"min_accuracy": 99},
]


def test_all_inference_routes_go_the_short_way() -> None:
    ways = short_ways([*routes.router.routes, *routes_locate.router.routes])
    assert ways.keys() == {"/v1/classify", "/v1/embed", "/v1/detect", "/v1/segment", "/v1/route"}


def test_a_route_with_a_dependency_of_its_own_goes_the_long_way() -> None:
    guarded = APIRouter(dependencies=[Depends(lambda: None)])
    guarded.post("/v1/classify", response_model=None)(routes.classify)
    open_to_all = APIRouter()
    open_to_all.post("/v1/classify", response_model=None)(routes.classify)
    assert not short_ways(guarded.routes)
    assert short_ways(open_to_all.routes)


@pytest.mark.parametrize("query", QUERIES, ids=str)
@pytest.mark.parametrize("body", ["picture", "half a picture", "nothing"])
async def test_both_ways_say_the_same(fake_gateway: FakeGateway, query: dict[str, Any], body: str) -> None:
    picture = encoded(photograph(next(iter(PHOTOGRAPHS))), "JPEG")
    content = {"picture": picture, "half a picture": picture[: len(picture) // 2], "nothing": b""}[body]
    short = await _ask(fake_gateway.app, query, content)
    _turn_off(fake_gateway.app)
    long = await _ask(fake_gateway.app, query, content)
    assert short.status_code == long.status_code
    assert short.headers["content-type"] == long.headers["content-type"]
    assert _timeless(short.json()) == _timeless(long.json())


async def test_a_bug_in_a_route_is_a_500_with_the_request_s_id(
    fake_gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("service.routes.classify_answers", broken)
    picture = encoded(photograph(next(iter(PHOTOGRAPHS))), "JPEG")
    answer = await _ask(fake_gateway.app, {"model": "fake_large"}, picture)
    assert answer.status_code == 500
    assert answer.json()["type"].endswith(":internal")
    assert answer.headers["x-request-id"] == "the-same"


async def _ask(app: FastAPI, query: dict[str, Any], content: bytes) -> httpx.Response:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway", timeout=30) as client:
        return await client.post("/v1/classify", params=query, content=content, headers=JPEG)


def _turn_off(app: FastAPI) -> None:
    """The same app, whose POSTs all go FastAPI's way from now on."""
    middleware: Any = app.middleware_stack
    while not isinstance(middleware, Straight):
        middleware = getattr(middleware, "app", None) or middleware._app
    middleware._ways.clear()


def _timeless(document: dict[str, Any]) -> dict[str, Any]:
    """What does not depend on how long it took."""
    kept = {name: value for name, value in document.items() if name not in ("timing_ms", "retry_after_s")}
    if "routing" in kept:
        kept["routing"] = {name: value for name, value in kept["routing"].items() if name != "predicted_ms"}
    return kept
