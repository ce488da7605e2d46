"""A client that hangs up while it is worked for: whoever serves its connection says so to whoever works."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.types import Scope

_SCOPE_KEY = "vision.hang_up"


class HangUp:
    """One connection's end. It answers its requests one by one, so there is at most one task to cancel."""

    def __init__(self) -> None:
        self.happened = False
        self.cancels: asyncio.Task[Any] | None = None

    def happen(self) -> None:
        """The connection is gone: what is being worked on for it is cancelled."""
        self.happened = True
        if self.cancels is not None:
            self.cancels.cancel()


def tell_of(scope: Scope, hang_up: HangUp) -> None:
    """Leaves it in the request's scope."""
    scope[_SCOPE_KEY] = hang_up


def hang_up_of(scope: Scope) -> HangUp | None:
    """The connection's; None if the server, not being ours, has none."""
    found: HangUp | None = scope.get(_SCOPE_KEY)
    return found
