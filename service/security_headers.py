"""What every answer tells a browser: render nothing of it, load nothing, tell nobody, show it in nobody's frame."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

# FastAPI's page of /docs loads Swagger UI from here and starts it with a script of its own.
_DOCS_CSP = (
    "default-src 'none'; script-src https://cdn.jsdelivr.net 'unsafe-inline'; "
    "style-src https://cdn.jsdelivr.net 'unsafe-inline'; img-src https://fastapi.tiangolo.com data:; "
    "connect-src 'self'; frame-ancestors 'none'"
)
_CSP = b"content-security-policy"

SECURITY_HEADERS: dict[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
_RAW = tuple((name.lower().encode("ascii"), value.encode("ascii")) for name, value in SECURITY_HEADERS.items())


class SecurityHeaders:
    """ASGI middleware. A page that says itself what it may load keeps its own Content-Security-Policy."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name.lower() for name, _ in message["headers"]}
                added = [(name, value) for name, value in _RAW if name not in own]
                if scope["path"] == "/docs":
                    added = [(name, _DOCS_CSP.encode("ascii") if name == _CSP else value) for name, value in added]
                message["headers"] = [*message["headers"], *added]
            await send(message)

        await self._app(scope, receive, send_with_headers)
