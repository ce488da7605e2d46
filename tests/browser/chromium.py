"""Chromium through Playwright. Where either is missing, modules that import this skip, and all say so in one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install playwright")

from playwright.sync_api import Browser as Browser
from playwright.sync_api import ConsoleMessage as ConsoleMessage
from playwright.sync_api import FilePayload as FilePayload
from playwright.sync_api import Page as Page
from playwright.sync_api import Request as Request
from playwright.sync_api import Route as Route
from playwright.sync_api import expect as expect
from playwright.sync_api import sync_playwright as sync_playwright

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
if not Path(CHROMIUM).exists():
    pytest.skip(f"no browser at {CHROMIUM}: apt install chromium, or say CHROMIUM=/its/path", allow_module_level=True)
