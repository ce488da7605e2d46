"""Who asks, and what that one may ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.types import Scope

from service.errors import Forbidden
from service.keys import Key
from service.settings import Settings, Tier

ANONYMOUS = "anonymous"
_SCOPE_KEY = "vision.client"


@dataclass(frozen=True, slots=True)
class Client:
    """max_budget_ms: the longest budget it may ask for, None: as long as anybody; tasks None: all of them."""

    name: str = ANONYMOUS
    max_budget_ms: float | None = None
    max_tier: Tier | None = None
    tasks: tuple[str, ...] | None = None

    def may(self, task: str) -> bool:
        """Whether the client may ask for it: classify, detect, segment or embed."""
        return self.tasks is None or task in self.tasks

    def require_task(self, task: str) -> None:
        """Raises Forbidden unless the client may ask for it."""
        if self.tasks is not None and not self.may(task):
            allowed = ", ".join(self.tasks)
            raise Forbidden(f"the key may not {task}; it may {allowed}", field="Authorization", limit=allowed)

    def require_budget(self, budget_ms: float, field: str) -> None:
        """Raises Forbidden if the budget is beyond the client's ceiling."""
        if self.max_budget_ms is not None and budget_ms > self.max_budget_ms:
            limit = f"{self.max_budget_ms:g} ms"
            raise Forbidden(f"{budget_ms:g} ms is more than the key may ask for, {limit}", field=field, limit=limit)


def task_of(task: str, output: str) -> str:
    """Which of a key's tasks an output of a model belongs to: an embedding to embed, all else to the model's own."""
    return "embed" if output == "embedding" else task


def client_with(key: Key, settings: Settings) -> Client:
    """The client that a key stands for. Of two ceilings the lower one holds."""
    ceilings = [key.max_budget_ms] if key.max_budget_ms is not None else []
    if key.max_tier is not None:
        ceilings.append(settings.tier_budget_ms(key.max_tier))
    ceiling_ms = min(ceilings, default=None)
    by_tier = key.max_tier is not None and ceiling_ms == settings.tier_budget_ms(key.max_tier)
    return Client(key.name, ceiling_ms, key.max_tier if by_tier else None, key.tasks)


def client_of(scope: Scope | dict[str, Any]) -> Client:
    """Whoever `Doors` found the request to come from."""
    client: Client = scope.get(_SCOPE_KEY) or Client()
    return client


def remember_client(scope: Scope, client: Client) -> None:
    scope[_SCOPE_KEY] = client
