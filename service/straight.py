"""The short way to an inference route: same endpoint, same documents, without FastAPI's general machinery in between.

FastAPI matches the address again, opens two exit stacks and analyses every parameter of every request, which keeps the
event loop from the next one. The routes remain FastAPI's: its OpenAPI document, its validation errors. Only what is
certain to be valid goes the short way; everything else goes the long one, which then says what is wrong.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin

from fastapi import Request, params
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import VisionError
from service.gateway import gateway_of, gateway_of_app
from service.problems import answer_error

Endpoint = Callable[..., Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Short:
    """An endpoint that takes nothing but these; `query` is the parameter's name and its model."""

    endpoint: Endpoint
    request: str
    gateway: str
    query: tuple[str, type[BaseModel]]


class Straight:
    """ASGI middleware, the innermost: POSTs to those of `routes` that `short_ways` understands are answered here."""

    def __init__(self, app: ASGIApp, routes: Iterable[BaseRoute]) -> None:
        self._app = app
        self._ways = short_ways(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        way = self._ways.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if way is None or scope.get("root_path"):
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive, send)
        name, model = way.query
        try:
            query = model.model_validate(dict(request.query_params))
        except ValidationError:  # nothing has been read yet: FastAPI may say it
            await self._app(scope, receive, send)
            return
        try:
            response = await way.endpoint(**{way.request: request, way.gateway: gateway_of_app(request), name: query})
        except VisionError as err:
            response = answer_error(request, err)
        await response(scope, receive, send)


def short_ways(routes: Iterable[BaseRoute]) -> dict[str, Short]:
    """Address → its short way, for POST routes that take request, gateway and a query model and give a Response."""
    found = {}
    for route in routes:
        plain = isinstance(route, APIRoute) and route.methods == {"POST"} and "{" not in route.path
        # A dependency of the route or its router, such as a check of keys, must not be passed by.
        if isinstance(route, APIRoute) and plain and not route.dependencies:
            way = _short(route.endpoint)
            if way is not None:
                found[route.path] = way
    return found


def _short(endpoint: Endpoint) -> Short | None:
    signature = inspect.signature(endpoint, eval_str=True)
    if signature.return_annotation is not Response:
        return None
    kinds: dict[str, Any] = {}
    for name, parameter in signature.parameters.items():
        kind = _kind(parameter.annotation)
        if kind is None or kind in kinds:
            return None
        kinds[kind] = (name, parameter.annotation)
    if kinds.keys() != {"request", "gateway", "query"}:
        return None
    name, annotation = kinds["query"]
    return Short(endpoint, kinds["request"][0], kinds["gateway"][0], (name, get_args(annotation)[0]))


def _kind(annotation: Any) -> str | None:
    if annotation is Request:
        return "request"
    if get_origin(annotation) is not Annotated:
        return None
    declared, *about = get_args(annotation)
    if len(about) == 1 and isinstance(about[0], params.Depends) and about[0].dependency is gateway_of:
        return "gateway"
    plain = len(about) == 1 and isinstance(about[0], params.Query)
    return "query" if plain and isinstance(declared, type) and issubclass(declared, BaseModel) else None
