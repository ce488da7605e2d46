"""OpenTelemetry: one server span for every request, its stages below it, sent by OTLP over HTTP in the background.

Imported only where an endpoint is set; the packages are the extra `otel`. Everything that is not the address (headers,
sampling, service name, batching) is OpenTelemetry's own to read: `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_TRACES_SAMPLER`,
`OTEL_SERVICE_NAME` …
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import tracing
from service.tracing import Value

_PROPAGATOR = TraceContextTextMapPropagator()
# Asked every few seconds by every probe and scraper: they would be most of what is stored.
UNTRACED = ("/health/", "/metrics")


class RequestTrace:
    """The spans of one request. The span that is open is the parent of what is told meanwhile."""

    def __init__(self, tracer: Tracer, server: Span) -> None:
        self._tracer = tracer
        self._server = server

    @contextmanager
    def span(self, name: str, attributes: Mapping[str, Value]) -> Iterator[None]:
        # OpenTelemetry keeps the open span in a context variable, so tasks that run side by side do not mix.
        with self._tracer.start_as_current_span(name, kind=SpanKind.CLIENT, attributes=dict(attributes)):
            yield

    def past(self, name: str, began_s: float, ended_s: float, attributes: Mapping[str, Value]) -> None:
        span = self._tracer.start_span(name, attributes=dict(attributes), start_time=_epoch_ns(began_s))
        span.end(_epoch_ns(ended_s))

    def say(self, attributes: Mapping[str, Value]) -> None:
        self._server.set_attributes(dict(attributes))

    def outgoing(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        _PROPAGATOR.inject(headers)
        return headers


class Tracing:
    """Sends spans to `endpoint`, or to where OpenTelemetry's own variables say if that is empty."""

    def __init__(self, endpoint: str) -> None:
        resource = Resource.create({} if "OTEL_SERVICE_NAME" in os.environ else {SERVICE_NAME: "vision-gateway"})
        self._provider = TracerProvider(resource=resource)
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces") if endpoint else OTLPSpanExporter()
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self.tracer = self._provider.get_tracer("vision-gateway")

    def close(self) -> None:
        """Sends what is left. Blocks, for seconds if the collector is away."""
        self._provider.shutdown()


class TraceRequests:
    """ASGI middleware, outermost: takes a client's `traceparent`, answers with its own."""

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        self._app = app
        self._tracer = tracing.tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(UNTRACED):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        caller = _PROPAGATOR.extract({name: headers[name] for name in ("traceparent", "tracestate") if name in headers})
        await self._traced(scope, receive, send, caller)

    async def _traced(self, scope: Scope, receive: Receive, send: Send, caller: Context) -> None:
        known = {"http.request.method": scope["method"], "url.path": scope["path"]}
        with self._tracer.start_as_current_span(
            f"{scope['method']} {scope['path']}", context=caller, kind=SpanKind.SERVER, attributes=known
        ) as span:
            listener = RequestTrace(self._tracer, span)

            async def send_with_trace(message: Message) -> None:
                if message["type"] == "http.response.start":
                    _note_status(span, message["status"])
                    own = [(name.encode(), value.encode()) for name, value in listener.outgoing().items()]
                    message["headers"] = [*message["headers"], *own]
                await send(message)

            with tracing.listening(listener):
                await self._app(scope, receive, send_with_trace)
            _name(span, scope)


def _note_status(span: Span, status: int) -> None:
    span.set_attribute("http.response.status_code", status)
    if status >= 500:
        span.set_status(Status(StatusCode.ERROR))


def _name(span: Span, scope: Scope) -> None:
    """By the route's pattern: a name for each model would be a new operation for each."""
    route = getattr(scope.get("route"), "path", None)
    if route is not None:
        span.update_name(f"{scope['method']} {route}")
        span.set_attribute("http.route", route)
    if "vision.request_id" in scope:
        span.set_attribute("vision.request_id", scope["vision.request_id"])


def _epoch_ns(monotonic_s: float) -> int:
    return time.time_ns() - int((time.monotonic() - monotonic_s) * 1e9)
