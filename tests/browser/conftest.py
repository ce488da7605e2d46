"""A real Chromium before a real gateway with the real models. Where either is missing these tests skip, and say so."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.gateway_server import GatewayServer, require_models, require_starter_models

if TYPE_CHECKING:  # what is skipped without a browser are the modules that need it, not this one
    from tests.browser.chromium import Browser, ConsoleMessage, Page
    from tests.browser.console import ConsolePage

STARTERS = ("ssdlite_efficientnet_lite0_384", "masks_efficientnet_lite0_384", "unet_efficientnet_lite0_384x512")


# Of this package and not of the session: Playwright keeps an event loop running, and async tests want their own.
@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    from tests.browser.chromium import ARGUMENTS, CHROMIUM, sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayServer]:
    """All models of the repository, and one more whose weights are random."""
    require_starter_models(STARTERS)
    folder = tmp_path_factory.mktemp("console")
    repository = _with_untrained_model(folder / "repository")
    # Timings on a shared machine are not what is tested here: `batch` is long enough for anything.
    settings = {"VISION_REPOSITORY": str(repository), "VISION_TIER_BATCH_MS": "20000"}
    with GatewayServer(folder / "log", settings) as server:
        server.wait_for("/health/ready")
        yield server


@pytest.fixture
def page(chromium: Browser, gateway: GatewayServer, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A fresh tab; afterwards nothing may have been complained about: no error, no violation of the page's policy."""
    wanted = getattr(request, "param", {})
    context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, "base_url": gateway.url, **wanted})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.set_default_timeout(30_000)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.extend(_complaint(message)))
    page.on("pageerror", lambda err: complaints.append(f"{err}"))
    yield page
    context.close()
    assert complaints == []


@pytest.fixture
def console(page: Page, gateway: GatewayServer) -> ConsolePage:
    from tests.browser.console import ConsolePage

    return ConsolePage(page, gateway.url)


def _complaint(message: ConsoleMessage) -> list[str]:
    # Chromium itself notes every answer of 400 and above; refusals are part of the tests.
    refused = message.text.startswith("Failed to load resource: ")
    return [message.text] if message.type in ("error", "warning") and not refused else []


def _with_untrained_model(folder: Path) -> Path:
    folder.mkdir()
    for entry in require_models().iterdir():
        if (entry / "config.pbtxt").is_file():
            (folder / entry.name).symlink_to(entry, target_is_directory=True)
    untrained = folder / "mobilenet_v2_untrained"
    shutil.copytree(folder / "mobilenet_v2", untrained, copy_function=os.link)
    config = (untrained / "config.pbtxt").read_text(encoding="utf-8")
    config = config.replace('name: "mobilenet_v2"', 'name: "mobilenet_v2_untrained"')
    config = re.sub(r'parameters \{\s*key: "accuracy[^}]*\}\s*\}\s*', "", config)
    config = config.replace('string_value: "package"', 'string_value: "untrained"')
    (untrained / "config.pbtxt").unlink()
    (untrained / "config.pbtxt").write_text(config, encoding="utf-8")
    return folder
