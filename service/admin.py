"""The admin port's app: the same gateway, seen by its operators. Nobody is asked for a key: who can reach it, may."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from service import problems, routes_admin, routes_control
from service.access_log import AccessLog
from service.errors import Forbidden
from service.gateway import Gateway
from service.request_id import Arrival
from service.security_headers import SecurityHeaders


class NoPages:
    """ASGI middleware: what a web page sends is refused.

    Every page that an operator's browser shows can send requests to the operator's own loopback address. They carry
    `Origin`; no tool of an operator does.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and "origin" in Headers(scope=scope):
            refusal = Forbidden("the admin port is not for web pages", field="Origin")
            await problems.problem(Request(scope), refusal)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def create_admin_app(gateway: Gateway) -> FastAPI:
    """The ASGI application of the admin port; the gateway's own app runs its lifespan."""
    app = FastAPI(title="vision-gateway, admin port", version="0.1.0", docs_url=None, redoc_url=None)
    app.state.gateway = gateway
    app.include_router(routes_admin.router)
    app.include_router(routes_control.router)
    problems.install(app)
    app.add_middleware(NoPages)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(AccessLog)
    app.add_middleware(Arrival)
    return app
