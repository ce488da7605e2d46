"""Frontier, Live, the frame around them: addresses, colours, phones."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from tests.browser.chromium import Page, expect
from tests.browser.console import ConsolePage
from tests.e2e.conftest import photograph
from tests.gateway_server import GatewayServer

PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}
SMALL_PHONE = {**PHONE, "viewport": {"width": 320, "height": 640}}


def models_of(gateway: GatewayServer) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = httpx.get(f"{gateway.url}/v1/models", timeout=30).json()["models"]
    return found


def test_every_model_of_a_yardstick_is_a_dot_and_a_row(page: Page, gateway: GatewayServer) -> None:
    page.goto("/frontier")
    models = models_of(gateway)
    yardsticks = {
        (m["task"], m["segment_kind"], m["labels"], m["accuracy"]["metric"], m["accuracy"]["dataset"])
        for m in models
        if m["accuracy"]
    }
    select = page.locator("#yardstick")
    expect(select.locator("option")).to_have_count(len(yardsticks))
    shown: set[str] = set()
    for option in select.locator("option").all():
        key = option.get_attribute("value") or ""
        select.select_option(key)
        task, _, labels, metric, _ = key.split("|")
        alike = [
            m
            for m in models
            if m["task"] == task and m["labels"] == labels and m["accuracy"] and m["accuracy"]["metric"] == metric
        ]
        expect(page.locator(f'#frontier-table tr[data-model="{alike[0]["name"]}"]')).to_be_visible()
        dots = page.locator("#frontier-plot [data-model]").evaluate_all("all => all.map(dot => dot.dataset.model)")
        rows = page.locator("#frontier-table [data-model]").evaluate_all("all => all.map(row => row.dataset.model)")
        assert sorted(dots) == sorted(rows)
        assert {m["name"] for m in alike} <= set(dots)
        shown |= set(dots)
    assert shown == {m["name"] for m in models}


def test_dots_stand_where_accuracy_and_prediction_say(page: Page) -> None:
    with page.expect_response(
        lambda r: "/v1/route" in r.url and "tier" not in r.url and "model" not in r.url
    ) as waiting:
        page.goto("/frontier")
    candidates = waiting.value.json()["candidates"]
    page.wait_for_selector("#frontier-plot [data-model]")
    places = page.locator("#frontier-plot .dot-model:not(.untrained)").evaluate_all(
        r"all => all.map(dot => [dot.dataset.model, ...dot.getAttribute('transform').match(/[\d.]+/g).map(Number)])"
    )
    at = {name: (x, y) for name, x, y in places}
    assert at.keys() == {c["model"] for c in candidates}
    by_accuracy = sorted(candidates, key=lambda c: c["accuracy"])
    heights = [at[c["model"]][1] for c in by_accuracy]
    assert heights == sorted(heights, reverse=True)
    by_time = sorted(candidates, key=lambda c: c["predicted_ms"])
    sides = [at[c["model"]][0] for c in by_time]
    assert sides == sorted(sides)
    best: list[str] = []
    highest = 0.0
    for candidate in sorted(candidates, key=lambda c: (c["predicted_ms"], -c["accuracy"])):
        if candidate["accuracy"] > highest:
            highest = candidate["accuracy"]
            best.append(candidate["model"])
    line = page.locator(".dot-model.on-frontier").evaluate_all("all => all.map(dot => dot.dataset.model)")
    assert sorted(line) == sorted(best)


def test_untrained_models_stand_apart_and_tiers_are_bands(page: Page) -> None:
    page.goto("/frontier")
    untrained = page.locator('#frontier-plot .untrained[data-model="mobilenet_v2_untrained"]')
    expect(untrained).to_have_count(1)
    place = re.findall(r"[\d.]+", untrained.get_attribute("transform") or "")
    others = page.locator("#frontier-plot .dot-model:not(.untrained)").evaluate_all(
        r"all => all.map(dot => Number(dot.getAttribute('transform').match(/[\d.]+/g)[1]))"
    )
    assert float(place[1]) > max(others), "below all that have an accuracy"
    expect(page.locator('#frontier-table [data-model="mobilenet_v2_untrained"]')).to_contain_text("untrained")
    assert page.locator("#frontier-plot .band").count() >= 2


def test_live_shows_what_was_asked_a_moment_ago(page: Page, gateway: GatewayServer) -> None:
    page.goto("/live")
    for _ in range(3):
        answer = httpx.post(
            f"{gateway.url}/v1/classify?tier=batch",
            content=photograph("chelsea"),
            headers={"Content-Type": "image/jpeg"},
            timeout=60,
        )
        assert answer.status_code == 200
    row = page.locator(f'#live-table tr[data-model="{answer.json()["model"]["name"]}"]')
    expect(row).to_be_visible(timeout=10_000)
    expect(row).to_contain_text(answer.json()["routing"]["reason"])
    expect(page.locator("#live-throughput rect.bar-answers").first).to_be_attached()
    assert page.locator("#live-tiles").inner_text().startswith("answers / s")


def test_live_can_be_paused(page: Page) -> None:
    page.goto("/live")
    page.wait_for_selector("#live-tiles .tile")
    page.click("#live-pause")
    page.wait_for_timeout(300)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(2500)
    assert [url for url in asked if "/v1/activity" in url] == []
    with page.expect_response(lambda response: "/v1/activity" in response.url):
        page.click("#live-pause")


def test_every_page_has_an_address_that_back_leads_to(page: Page) -> None:
    page.goto("/frontier")
    expect(page.locator("#frontier-title")).to_be_visible()
    page.click('nav a[data-page="live"]')
    expect(page.locator("#live-title")).to_be_visible()
    assert page.url.endswith("/live")
    assert page.title().startswith("Live")
    page.go_back()
    expect(page.locator("#frontier-title")).to_be_visible()
    expect(page.locator("nav [aria-current]")).to_have_text("Frontier")


def test_the_colours_follow_the_system_and_can_be_chosen(page: Page) -> None:
    def background() -> str:
        colour: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return colour

    page.emulate_media(color_scheme="light")
    page.goto("/live")
    light = background()
    page.emulate_media(color_scheme="dark")
    dark = background()
    assert light != dark
    page.click("#theme-button")
    assert background() == light
    page.reload()
    assert background() == light, "remembered"
    page.click("#theme-button")
    assert background() == dark


@pytest.mark.parametrize("page", [PHONE, SMALL_PHONE], indirect=True, ids=["390 px", "320 px"])
def test_a_phone_never_scrolls_sideways(console: ConsolePage) -> None:
    console.open(task="segment", kind="instance", tier="batch")
    assert not console.scrolls_sideways()
    console.take("a_name_that_goes_on_for_longer_than_any_phone_is_wide.jpg", photograph("astronaut"))
    assert not console.scrolls_sideways()
    console.page.click("summary")
    assert not console.scrolls_sideways()
    console.take("broken.jpg", photograph("astronaut")[:3000])
    assert not console.scrolls_sideways()
    for path, ready in (("/frontier", "#frontier-table tr"), ("/live", "#live-table tr")):
        console.page.goto(path)
        console.page.wait_for_selector(ready)
        assert not console.scrolls_sideways()


def test_nothing_is_asked_of_anybody_else(console: ConsolePage) -> None:
    asked: list[str] = []
    console.page.on("request", lambda request: asked.append(request.url))
    console.open(tier="batch")
    console.choose('[data-name="temple.jpg"]')
    for path in ("/frontier", "/live"):
        console.page.goto(path)
        console.page.wait_for_timeout(1500)
    assert [url for url in asked if not url.startswith((console.url, "blob:"))] == []


def test_a_gateway_that_is_away_is_said_so(page: Page) -> None:
    page.goto("/live")
    page.wait_for_selector("#live-tiles .tile")
    page.route("**/v1/**", lambda route: route.abort("connectionrefused"))
    expect(page.locator("#live-problem")).to_contain_text("does not answer", timeout=10_000)
    page.unroute("**/v1/**")
    expect(page.locator("#live-problem")).to_be_hidden(timeout=10_000)
