"""Tracing switched on, or not: decided once, when the app is made."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable

from fastapi import FastAPI

log = logging.getLogger(__name__)

INSTALL = "python -m pip install -c constraints.txt -e '.[otel]', in the clone"
# OpenTelemetry's own, either of which names a collector.
ENDPOINT_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def trace_requests(app: FastAPI, endpoint: str) -> Callable[[], Awaitable[None]]:
    """Traces the app's requests if there is an endpoint; what is returned sends the rest, when the app ends.

    endpoint    of the setting; if empty, OpenTelemetry's variables count, unless OTEL_SDK_DISABLED=true

    Raises RuntimeError if the setting is there and the packages are not.
    """
    theirs = any(os.environ.get(name) for name in ENDPOINT_VARIABLES)
    if not endpoint and (not theirs or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"):
        return _nothing
    try:
        from service.tracing_otel import TraceRequests, Tracing
    except ImportError as err:
        if endpoint:
            raise RuntimeError(f"VISION_TRACE_ENDPOINT is set, but OpenTelemetry is not installed: {INSTALL}") from err
        # Whole clusters set OpenTelemetry's variables for everybody: no reason not to serve.
        log.warning("no traces: OpenTelemetry is not installed (%s)", INSTALL)
        return _nothing
    tracing = Tracing(endpoint)
    app.add_middleware(TraceRequests, tracing=tracing)
    log.info("tracing to %s", endpoint or "where OTEL_EXPORTER_OTLP_ENDPOINT says")
    return lambda: asyncio.to_thread(tracing.close)


async def _nothing() -> None:
    pass
