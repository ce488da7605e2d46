"""The pictures of docs/console.md, taken anew: `python -m tests.browser.take_screenshots`, on a quiet machine."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import Literal

import httpx
import numpy as np
from PIL import Image

from tests.browser.chromium import ARGUMENTS, CHROMIUM, Browser, Page, sync_playwright
from tests.gateway_server import REPOSITORY, ROOT, GatewayServer

IMAGES = ROOT / "docs" / "images"
SAMPLES = sorted((ROOT / "service" / "console" / "samples").glob("*.jpg"))
COLOURS = 96


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    settings = {"VISION_REPOSITORY": str(REPOSITORY)}
    with (
        tempfile.TemporaryDirectory() as folder,
        sync_playwright() as playwright,
        GatewayServer(Path(folder) / "log", settings) as gateway,
    ):
        gateway.wait_for("/health/ready")
        _traffic(gateway.url, 40)  # what has never run is only guessed at
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        scene = "task=segment&kind=semantic&tier=batch&sample=temple.jpg"
        _take(browser, gateway.url, "console-try", f"/?{scene}", "light", (1280, 900), ".waterfall")
        _take(browser, gateway.url, "console-phone", f"/?{scene}", "dark", (390, 844), ".waterfall")
        _take(browser, gateway.url, "console-frontier", "/frontier", "light", (1280, 900), "#frontier-table tr")
        _traffic(gateway.url, 150)
        _take(browser, gateway.url, "console-live", "/live", "dark", (1280, 900), "#live-table tr")
        browser.close()


def _take(
    browser: Browser,
    url: str,
    name: str,
    path: str,
    colours: Literal["light", "dark"],
    size: tuple[int, int],
    ready: str,
) -> None:
    width, height = size
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=colours)
    page.goto(url + path)
    page.wait_for_selector(ready)
    page.wait_for_timeout(1500)
    _save(page, IMAGES / f"{name}.png")
    page.close()


def _save(page: Page, path: Path) -> None:
    """As a palette PNG, a third of the size. Rare colours of the page count as much as its background."""
    shot = page.screenshot(full_page=page.url.endswith(("live", "frontier")))
    picture = Image.open(io.BytesIO(shot)).convert("RGB")
    unique = np.unique(np.asarray(picture).reshape(-1, 3), axis=0)  # (U, 3)
    rare = Image.fromarray(unique[None]).quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE)
    frequent = picture.quantize(256 - COLOURS)
    palette = Image.new("P", (1, 1))
    palette.putpalette([*(frequent.getpalette() or []), *(rare.getpalette() or [])][: 3 * 256])
    picture.quantize(palette=palette, dither=Image.Dither.NONE).save(path, optimize=True)
    print(path.relative_to(ROOT), f"{path.stat().st_size // 1024} KiB")


def _traffic(url: str, requests: int) -> None:
    tasks = ("classify", "classify", "detect", "segment", "classify", "segment?kind=instance")
    tiers = ("standard", "interactive", "relaxed", "interactive", "realtime")
    with httpx.Client(timeout=60) as client:
        for number in range(requests):
            task, tier = tasks[number % len(tasks)], tiers[number % len(tiers)]
            address = f"{url}/v1/{task}{'&' if '?' in task else '?'}tier={tier}"
            picture = SAMPLES[number % len(SAMPLES)].read_bytes()
            client.post(address, content=picture, headers={"Content-Type": "image/jpeg"})


if __name__ == "__main__":
    main()
