"""Who is let in: a key is asked for, its rate kept, and what it may do is noted for those behind the door."""

from __future__ import annotations

import ipaddress
import logging
import time
from typing import Any

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from service.clients import client_with, remember_client
from service.errors import Forbidden, RateLimited, Unauthorized, VisionError
from service.keys import KeyRing
from service.openapi import PROBLEM
from service.problems import problem
from service.rate_limit import Buckets, Rate
from service.settings import Settings

log = logging.getLogger(__name__)

# Load balancers have no key, and a page must be there before it can be given one. All else is closed, also what is not.
_OPEN = frozenset(
    {"/", "/frontier", "/live", "/console"} | {"/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"}
)
_OPEN_BELOW = "/console/"

_SCHEMES: dict[str, Any] = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
_KEY_ANSWERS: dict[str, Any] = {
    str(error.status): {"description": error.title, "content": PROBLEM}
    for error in (Unauthorized, Forbidden, RateLimited)
}


class OpenDoors(Exception):
    """The gateway would answer anybody, and nobody said that it should."""


def require_closed_doors(settings: Settings) -> None:
    """Raises OpenDoors if strangers could reach a gateway that asks nobody for a key, unless that is wanted."""
    if settings.api_keys_file or settings.allow_anonymous or is_loopback(settings.host):
        return
    raise OpenDoors(
        f"VISION_HOST={settings.host} can be reached from other machines, and nobody would be asked for a key: set "
        "VISION_API_KEYS_FILE (`vision keys new NAME >> FILE` makes one), or VISION_ALLOW_ANONYMOUS=true if something "
        "in front asks for it, or listen on 127.0.0.1"
    )


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def describe_keys(app: FastAPI) -> None:
    """Says in the app's OpenAPI document how a key is sent."""
    described = app.openapi

    def with_keys() -> dict[str, Any]:
        document = described()
        document.setdefault("components", {})["securitySchemes"] = _SCHEMES
        document["security"] = [{name: []} for name in _SCHEMES]
        for path, operations in document["paths"].items():
            if not _is_open(path):
                for operation in operations.values():
                    operation["responses"] |= _KEY_ANSWERS
        return document

    app.openapi = with_keys  # type: ignore[method-assign]


class Doors:
    """ASGI middleware. keys None: nobody has one, and nobody is asked for one."""

    def __init__(self, app: ASGIApp, settings: Settings, keys: KeyRing | None) -> None:
        self._app = app
        self._settings = settings
        self._keys = keys
        self._anonymous_too = settings.allow_anonymous or keys is None
        if keys is not None and settings.allow_anonymous:
            log.warning("there are keys, but VISION_ALLOW_ANONYMOUS=true lets in whoever has none")
        self._anonymous_rate: Rate | None = None
        if settings.anonymous_rate_per_s > 0:
            self._anonymous_rate = Rate(settings.anonymous_rate_per_s, settings.anonymous_burst)
        self._key_buckets = Buckets()
        self._address_buckets = Buckets()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not _is_open(scope["path"]):
            try:
                self._let_in(scope)
            except VisionError as err:
                await problem(Request(scope), err)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _let_in(self, scope: Scope) -> None:
        """Notes in the scope who it is. Raises Unauthorized or RateLimited."""
        if self._keys is None:
            self._keep_anonymous_rate(scope)
            return  # nobody has a key here: what a client sends as one is not even looked at
        presented = _presented(Headers(scope=scope))
        if presented is None:
            if not self._anonymous_too:
                raise Unauthorized(
                    "a key is needed: Authorization: Bearer KEY, or X-API-Key: KEY", field="Authorization"
                )
            self._keep_anonymous_rate(scope)
            return
        key = self._keys.find(presented)
        if key is None:
            raise Unauthorized("nobody has this key", field="Authorization")
        remember_client(scope, client_with(key, self._settings))
        if key.rate_per_s is not None:
            rate = Rate(key.rate_per_s, key.burst or max(1, round(key.rate_per_s)))
            _keep_rate(self._key_buckets, key.name, rate, "this key")

    def _keep_anonymous_rate(self, scope: Scope) -> None:
        if self._anonymous_rate is not None:
            _keep_rate(self._address_buckets, _address(scope), self._anonymous_rate, "your address")


def _is_open(path: str) -> bool:
    return path in _OPEN or path.startswith(_OPEN_BELOW)


def _presented(headers: Headers) -> str | None:
    """The key in the request, None if there is none. Raises Unauthorized for two, or another scheme."""
    given = set()
    for value in headers.getlist("authorization"):
        scheme, _, credentials = value.strip().partition(" ")
        if scheme.lower() != "bearer" or not credentials.strip():
            raise Unauthorized("Authorization must be `Bearer KEY`", field="Authorization", limit="Bearer KEY")
        given.add(credentials.strip())
    given |= {value.strip() for value in headers.getlist("x-api-key")}
    if len(given) > 1:
        raise Unauthorized("the request carries two different keys", field="Authorization", limit="one key")
    return given.pop() if given else None


def _address(scope: Scope) -> str:
    """What counts as one address: of IPv6 the first 64 bits, for whoever has one of them has them all."""
    host = scope["client"][0] if scope.get("client") else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    return str(ipaddress.ip_network((address, 64), strict=False)) if address.version == 6 else host


def _keep_rate(buckets: Buckets, name: str, rate: Rate, whose: str) -> None:
    wait_s = buckets.take(name, rate, time.monotonic())
    if wait_s > 0.0:
        limit = f"{rate.per_s:g} requests a second, {rate.burst} at once"
        raise RateLimited(f"too many requests from {whose}", field="Authorization", limit=limit, retry_after_s=wait_s)
