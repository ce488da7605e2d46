"""How many parameters a request may have: judged before anything takes them apart.

Ten thousand of them kept the event loop, and so everybody, busy for a quarter of a second: each was parsed, and
complained of, only for the first complaint to be told.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import InvalidParameter
from service.problems import problem

# There are some twenty.
MOST_PARAMETERS = 64


class QueryLimit:
    """ASGI middleware: 422 beyond `MOST_PARAMETERS`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["query_string"].count(b"&") >= MOST_PARAMETERS:
            limit = f"{MOST_PARAMETERS} parameters"
            refusal = InvalidParameter(f"the query has more than {limit}", field="query", limit=limit)
            await problem(Request(scope), refusal)(scope, receive, send)
        else:
            await self._app(scope, receive, send)
