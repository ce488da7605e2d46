"""Every series of a gateway under test."""

from __future__ import annotations

import re

import httpx

from tests.gateway_server import GatewayServer

_LINE = re.compile(r"^([a-z_]+(?:\{[^}]*\})?) (\S+)$", re.MULTILINE)


def scrape(gateway: GatewayServer) -> dict[str, float]:
    """By name and labels, as written in /metrics."""
    url = getattr(gateway, "admin_url", gateway.url)
    text = httpx.get(f"{url}/metrics", timeout=30).text
    return {name: float(value) for name, value in _LINE.findall(text)}
