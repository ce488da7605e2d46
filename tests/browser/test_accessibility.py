"""axe-core finds no serious fault on any page, in either colours, empty or full."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.chromium import Page
from tests.browser.console import ConsolePage
from tests.e2e.conftest import photograph

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python")

LIGHT = {"color_scheme": "light"}
DARK = {"color_scheme": "dark"}
PHONE = {"color_scheme": "light", "viewport": {"width": 390, "height": 844}}
each_look = pytest.mark.parametrize("page", [LIGHT, DARK, PHONE], indirect=True, ids=["light", "dark", "phone"])


def serious_faults(page: Page) -> list[str]:
    found: list[dict[str, Any]] = axe.Axe().run(page).response["violations"]
    return [
        f"{fault['id']}: {node['html'][:160]} {node['failureSummary'][:300]}"
        for fault in found
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]


@each_look
@pytest.mark.parametrize("task", ["classify", "detect", "segment"])
def test_try_with_an_answer(console: ConsolePage, task: str) -> None:
    console.open(task=task, tier="batch")
    console.page.click("summary")
    console.take("astronaut.jpg", photograph("astronaut"))
    assert serious_faults(console.page) == []


@each_look
def test_try_empty_with_the_key_and_with_a_refusal(console: ConsolePage) -> None:
    console.open()
    console.page.wait_for_selector(".candidates")
    assert serious_faults(console.page) == []
    console.page.click("#key-button")
    assert serious_faults(console.page) == []
    console.page.keyboard.press("Escape")
    console.take("words.jpg", b"these are words")
    assert serious_faults(console.page) == []


@each_look
@pytest.mark.parametrize(("path", "ready"), [("/frontier", "#frontier-table tr"), ("/live", "#live-table tr")])
def test_frontier_and_live(console: ConsolePage, path: str, ready: str) -> None:
    console.open(tier="batch")
    console.choose('[data-name="chelsea.jpg"]')
    console.page.goto(path)
    console.page.wait_for_selector(ready)
    assert serious_faults(console.page) == []
