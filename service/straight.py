"""The short way to an inference route: same endpoint, same documents, without FastAPI's general machinery in between.

FastAPI matches the address again and opens two exit stacks for every request, a good part of what a request costs the
event loop. The routes remain FastAPI's, and so does its OpenAPI document: this only calls them.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import VisionError
from service.front import SCOPE_KEY, Asked
from service.problems import answer_error


class Straight:
    """ASGI middleware, the innermost: POSTs to those of `routes` that `short_ways` understands are answered here."""

    def __init__(self, app: ASGIApp, routes: Iterable[BaseRoute]) -> None:
        self._app = app
        self._ways = short_ways(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._ways.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if route is None or scope.get("root_path"):
            await self._app(scope, receive, send)
            return
        scope["route"] = route  # as FastAPI leaves it for whoever traces
        request = Request(scope, receive, send)
        try:
            response: Response = await route.endpoint(request)
            asked: Asked | None = scope.get(SCOPE_KEY)
            if asked is not None:
                asked.served()
        except VisionError as err:
            response = answer_error(request, err)
        await response(scope, receive, send)


def short_ways(routes: Iterable[BaseRoute]) -> dict[str, APIRoute]:
    """Address → route, for POST routes that take nothing but the request and give a Response."""
    return {
        route.path: route
        for route in routes
        if isinstance(route, APIRoute) and route.methods == {"POST"} and "{" not in route.path and _is_plain(route)
    }


def _is_plain(route: APIRoute) -> bool:
    """Whether FastAPI would add nothing to calling the endpoint: no parameters to parse, no dependencies to meet."""
    signature = inspect.signature(route.endpoint, eval_str=True)
    taken = [parameter.annotation for parameter in signature.parameters.values()]
    return taken == [Request] and signature.return_annotation is Response and not route.dependencies
