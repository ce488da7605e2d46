"""One line a request: what was asked of which route by whom, how it ended, how long it took.

Nothing that a client wrote stands in it but names that we know: the route's own address, not the one that was asked
for, `-` where no route was reached; the parameters' names, not their values; the key's name, not the key. Pictures and
bodies are never looked at.
"""

from __future__ import annotations

import logging
import time
from urllib.parse import parse_qsl

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.clients import client_of
from service.request_id import received_s, request_id
from service.schemas import ClassifyQuery, DetectQuery, EmbedQuery, RouteTaskQuery, SegmentQuery

log = logging.getLogger("vision.access")

_QUERIES = (ClassifyQuery, DetectQuery, EmbedQuery, SegmentQuery, RouteTaskQuery)
_KNOWN = frozenset(name for query in _QUERIES for name in query.model_fields)
_MOST_PARAMETERS = 64
_EVERY_OTHER_SECOND = frozenset({"/health/live", "/health/ready", "/metrics"})
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class AccessLog:
    """ASGI middleware: at level info; health checks and scrapes, which come every other second, at debug."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not log.isEnabledFor(logging.INFO):
            await self._app(scope, receive, send)
            return
        status = 0

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except Exception:
            status = 500
            raise
        finally:
            log.log(
                logging.DEBUG if scope["path"] in _EVERY_OTHER_SECOND else logging.INFO,
                "%s %s %s %.1f ms id=%s client=%s",
                scope["method"] if scope["method"] in _METHODS else "?",
                _where(scope),
                status or "hung-up",
                (time.monotonic() - received_s(scope)) * 1e3,
                request_id(scope),
                client_of(scope).name,
            )


def _where(scope: Scope) -> str:
    route = getattr(scope.get("route"), "path", None)
    return f"{route or '-'}{_parameters(scope['query_string'])}"


def _parameters(query: bytes) -> str:
    if not query:
        return ""
    try:
        given = [name for name, _ in parse_qsl(query.decode("latin-1"), True, max_num_fields=_MOST_PARAMETERS)]
    except ValueError:
        return "?…"
    names = sorted({name for name in given if name in _KNOWN})
    return "?" + "&".join([*names, "…"] if any(name not in _KNOWN for name in given) else names)
