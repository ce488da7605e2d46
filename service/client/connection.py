"""What both clients are given, checked once, and the arguments that httpx gets of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx

from service.client.attempts import Attempts
from service.client.calls import Call
from service.client.options import Tier

T = TypeVar("T")

# Longer than the longest budget that a gateway accepts unless told otherwise (VISION_MAX_BUDGET_MS).
DEFAULT_TIMEOUT_S = 65.0
DEFAULT_RETRIES = 3
# uvicorn closes a connection that has been idle for 5 s; one that is being closed must not be used again.
_KEEPALIVE_S = 4.0
_MOST_CONNECTIONS = 100


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the gateway is and how to speak to it. Raises ValueError for what cannot be meant."""

    url: str
    tier: Tier | None
    api_key: str | None = field(repr=False)
    timeout_s: float
    retries: int

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ValueError(f"{self.url!r} is no address of a gateway: it must begin with http:// or https://")
        if not self.timeout_s > 0:
            raise ValueError(f"timeout_s is {self.timeout_s:g}, must be above 0")
        if self.retries < 0:
            raise ValueError(f"retries is {self.retries}, must not be negative")

    def client_arguments(self) -> dict[str, Any]:
        """Keyword arguments for httpx.Client and httpx.AsyncClient."""
        headers = {"User-Agent": "vision-gateway-client"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        return {
            "base_url": self.url,
            "headers": headers,
            "limits": httpx.Limits(
                max_connections=_MOST_CONNECTIONS,
                max_keepalive_connections=_MOST_CONNECTIONS,
                keepalive_expiry=_KEEPALIVE_S,
            ),
        }

    def attempts(self, call: Call[T], options: Mapping[str, Any]) -> Attempts[T]:
        """The call with its retries, within the time that its options or this client give it."""
        timeout_s = options.get("timeout_s")
        if timeout_s is not None and not timeout_s > 0:
            raise ValueError(f"timeout_s is {timeout_s:g}, must be above 0")
        return Attempts(call, self.url, self.timeout_s if timeout_s is None else timeout_s, self.retries)

    def attempt(self, call: Call[T]) -> Attempts[T]:
        """The call, sent once."""
        return Attempts(call, self.url, self.timeout_s, retries=0)
