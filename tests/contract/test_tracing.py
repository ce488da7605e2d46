"""Traces, as a collector receives them: a real one, small enough to be read."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from service import tracing
from service.engines.fake import FakeEngine
from service.engines.protocol import Job
from service.engines.triton import TritonEngine
from service.errors import VisionError
from service.manifest import ModelCard
from service.settings import Settings
from service.tracing_otel import RequestTrace, Tracing
from tests.cards import classifier, detector
from tests.conftest import FakeGateway, FakeGateways
from tests.contract.tiny_repository import pictures
from tests.pictures import encoded, photograph
from tests.triton_server import TritonServer, require_triton

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
JPEG = {"content-type": "image/jpeg"}


class Collector:
    """What came, span by span."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.documents: list[dict[str, Any]] = []
        self.spans: list[Span] = []
        self.resource: dict[str, str] = {}
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers["content-type"].startswith("application/json"):
                    collector.documents.append(json.loads(body))  # as Triton sends them
                else:
                    collector.take(gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def take(self, body: bytes) -> None:
        self.bodies.append(body)
        for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resource |= {pair.key: pair.value.string_value for pair in of_resource.resource.attributes}
            for of_scope in of_resource.scope_spans:
                self.spans += of_scope.spans

    def of_triton(self) -> list[dict[str, Any]]:
        scopes = [scope for doc in self.documents for of in doc["resourceSpans"] for scope in of["scopeSpans"]]
        return [span for scope in scopes for span in scope["spans"]]

    async def joined_by_triton(self, timeout_s: float = 30.0) -> list[dict[str, Any]]:
        """Triton's requests that have a parent, when the first has come (it sends its spans every five seconds)."""
        give_up_s = time.monotonic() + timeout_s
        while True:
            joined = [s for s in self.of_triton() if s["name"] == "InferRequest" and s.get("parentSpanId")]
            if joined:
                return joined
            assert time.monotonic() < give_up_s, f"Triton told only {self.of_triton()}"
            await asyncio.sleep(0.05)

    def one(self, name: str) -> Span:
        (span,) = [span for span in self.spans if span.name == name]
        return span

    def below(self, parent: Span) -> list[Span]:
        return [span for span in self.spans if span.parent_span_id == parent.span_id]


def attributes(span: Span) -> dict[str, str | int | float | bool]:
    return {pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in span.attributes}


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


@pytest.fixture
async def gateway(collector: Collector) -> AsyncIterator[FakeGateway]:
    """Traced; what it has told is at the collector when the test has called `ended`."""
    engine = FakeEngine([classifier("fake_large", accuracy=76.0), detector()])
    opened = FakeGateways(Settings(workers=1, trace_endpoint=collector.url + "/"), engine)
    gateway = await opened.__aenter__()
    ended: list[bool] = []

    async def end() -> None:
        if not ended:
            ended.append(True)
            await opened.__aexit__(None, None, None)

    gateway.app.state.ended = end
    yield gateway
    await end()


def picture() -> bytes:
    return encoded(photograph().resize((120, 90)))


async def test_a_request_is_a_server_span_with_its_stages_below(gateway: FakeGateway, collector: Collector) -> None:
    sent = picture()
    answer = await gateway.client.post(
        "/v1/classify?tier=relaxed", content=sent, headers=JPEG | {"traceparent": CALLER}
    )
    assert answer.status_code == 200, answer.text
    await gateway.app.state.ended()

    server = collector.one("POST /v1/classify")
    assert server.kind == Span.SPAN_KIND_SERVER
    assert (server.trace_id.hex(), server.parent_span_id.hex()) == tuple(CALLER.split("-")[1:3])
    assert answer.headers["traceparent"].startswith(f"00-{server.trace_id.hex()}-{server.span_id.hex()}-")
    said = attributes(server)
    told = answer.json()
    assert (
        said
        | {
            "http.request.method": "POST",
            "http.route": "/v1/classify",
            "http.response.status_code": 200,
            "vision.request_id": answer.headers["x-request-id"],
            "vision.task": "classify",
            "vision.tier": "relaxed",
            "vision.budget_ms": 500.0,
            "vision.outcome": "ok",
            "vision.model": "fake_large",
            "vision.reason": told["routing"]["reason"],
            "vision.predicted_ms": told["routing"]["predicted_ms"],
            "vision.degraded": False,
        }
        == said
    )
    assert {span.name for span in collector.below(server)} >= {"read", "route", "decode", "engine", "post"}
    engine = collector.one("engine")
    assert {span.name for span in collector.below(engine)} >= {"infer"}
    assert attributes(collector.one("infer"))["model"] == "fake_large"
    for span in collector.spans:
        assert span.trace_id == server.trace_id
        assert server.start_time_unix_nano - 5e6 <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= server.end_time_unix_nano + 5e6
    assert collector.resource["service.name"] == "vision-gateway"


async def test_no_picture_leaves_the_house(gateway: FakeGateway, collector: Collector) -> None:
    sent = picture()
    await gateway.client.post("/v1/classify?tier=relaxed", content=sent, headers=JPEG)
    await gateway.client.post("/v1/classify?tier=relaxed", content=sent[:200], headers=JPEG)
    await gateway.app.state.ended()
    everything = b"".join(collector.bodies)
    assert collector.spans
    # Spans of a few numbers: not even a small part of the picture is among them.
    assert not any(sent[at : at + 16] in everything for at in range(20, len(sent) - 16, 8))


async def test_what_follows_the_model_is_a_stage_of_its_own(gateway: FakeGateway, collector: Collector) -> None:
    answer = await gateway.client.post("/v1/detect?tier=relaxed", content=picture(), headers=JPEG)
    assert answer.status_code == 200, answer.text
    await gateway.app.state.ended()
    post = collector.one("post")
    took_ms = (post.end_time_unix_nano - post.start_time_unix_nano) / 1e6
    assert took_ms == pytest.approx(answer.json()["timing_ms"]["post"], abs=0.01)
    assert attributes(collector.one("POST /v1/detect"))["vision.model"] == "fake_detector"


async def test_a_failure_says_so(gateway: FakeGateway, collector: Collector) -> None:
    gateway.engine.failing.add("fake_large")
    answer = await gateway.client.post("/v1/classify?tier=relaxed", content=picture(), headers=JPEG)
    assert answer.status_code == 500
    refused = await gateway.client.post("/v1/classify?tier=relaxed", content=b"no picture", headers=JPEG)
    assert refused.status_code in (415, 422)
    await gateway.app.state.ended()
    failed, invalid = [span for span in collector.spans if span.name == "POST /v1/classify"]
    assert failed.status.code == Status.STATUS_CODE_ERROR
    assert attributes(failed)["vision.outcome"] == "error"
    assert collector.one("engine").status.code == Status.STATUS_CODE_ERROR
    assert invalid.status.code != Status.STATUS_CODE_ERROR  # the client's mistake is no fault of the service
    assert attributes(invalid)["vision.outcome"] == "invalid"


async def test_two_pictures_are_two_branches_of_one_trace(gateway: FakeGateway, collector: Collector) -> None:
    files = [("image", ("a.jpg", picture(), "image/jpeg")), ("image", ("b.jpg", picture(), "image/jpeg"))]
    answer = await gateway.client.post("/v1/classify?tier=relaxed", files=files)
    assert answer.status_code == 200, answer.text
    await gateway.app.state.ended()
    engines = [span for span in collector.spans if span.name == "engine"]
    assert len(engines) == 2
    assert [len([s for s in collector.below(engine) if s.name == "infer"]) for engine in engines] == [1, 1]


async def test_probes_and_scrapes_are_not_traced(gateway: FakeGateway, collector: Collector) -> None:
    for path in ("/health/ready", "/health/live", "/metrics"):
        assert "traceparent" not in (await gateway.client.get(path)).headers
    await gateway.client.get("/v1/models/fake_large")
    await gateway.app.state.ended()
    assert [span.name for span in collector.spans] == ["GET /v1/models/{name}"]


async def test_a_collector_that_is_away_costs_no_request_its_answer() -> None:
    engine = FakeEngine([classifier("fake_large", accuracy=76.0)])
    began_s = time.monotonic()
    async with FakeGateways(Settings(workers=1, trace_endpoint="http://127.0.0.1:1"), engine) as opened:
        answer = await opened.client.post("/v1/classify?tier=relaxed", content=picture(), headers=JPEG)
        assert answer.status_code == 200
    assert time.monotonic() - began_s < 20  # a stop within the grace period


class Seen(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """Any method: notes the metadata, and refuses."""

    def __init__(self) -> None:
        self.metadata: dict[str, str | bytes] = {}

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        self.metadata |= dict(details.invocation_metadata)

        async def refuse(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
            await context.abort(grpc.StatusCode.INTERNAL, "noted")
            return b""

        return grpc.unary_unary_rpc_method_handler(refuse)


@pytest.mark.parametrize("traced", [True, False])
async def test_triton_is_told_the_trace_as_grpc_metadata(collector: Collector, traced: bool) -> None:
    seen, server = Seen(), grpc.aio.server()
    server.add_generic_rpc_handlers((seen,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    engine = TritonEngine(f"127.0.0.1:{port}")
    await engine.open()
    job = Job("any", np.zeros((1, 8, 8, 3), np.uint8), ("probabilities",))
    expected = ""
    try:
        if traced:
            told = Tracing(collector.url)
            with told.tracer.start_as_current_span("request") as span:
                context = span.get_span_context()
                expected = f"00-{context.trace_id:032x}-{context.span_id:016x}"
                with tracing.listening(RequestTrace(told.tracer, span)), pytest.raises(VisionError):
                    await engine.infer(job)
            told.close()
        else:
            with pytest.raises(VisionError):
                await engine.infer(job)
    finally:
        await engine.close()
        await server.stop(None)
    assert str(seen.metadata.get("traceparent", "")).rpartition("-")[0] == expected
    assert "user-agent" in seen.metadata


@pytest.mark.triton
async def test_tritons_own_spans_join_the_trace(
    collector: Collector, tiny_repository: tuple[Path, list[ModelCard]], tmp_path: Path
) -> None:
    require_triton()
    told = Tracing(collector.url)
    traces = ("--trace-endpoint", collector.url)
    with TritonServer(tiny_repository[0], log=tmp_path / "log", arguments=traces) as server:
        engine = TritonEngine(server.url)
        await engine.open()
        request_span = told.tracer.start_as_current_span("request")
        with request_span as span, tracing.listening(RequestTrace(told.tracer, span)), tracing.stage("engine"):
            await engine.infer(Job("tiny", pictures(1), ("probabilities",)))
        await engine.close()
        # Triton closes a request's spans after it has answered: told to go at that very moment, it may lose them.
        joined = await collector.joined_by_triton()
    told.close()
    ours = collector.one("engine")
    (request,) = joined
    assert (request["traceId"], request["parentSpanId"]) == (ours.trace_id.hex(), ours.span_id.hex())
    (model,) = [s for s in collector.of_triton() if s.get("parentSpanId") == request["spanId"]]
    assert model["name"] == "tiny"


LAYERS = "'Arrival', 'AccessLog', 'SecurityHeaders', 'Doors', 'QueryLimit', 'Straight']"
OFF = """
import sys
from service.app import create_app
from service.engines.fake import FakeEngine
from service.settings import Settings
app = create_app(Settings(), FakeEngine([]))
print([name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))
       or name == "service.tracing_otel"], [layer.cls.__name__ for layer in app.user_middleware])
"""


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, f"[] [{LAYERS}"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
            f"[] [{LAYERS}",
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, f"['TraceRequests', {LAYERS}"),
        ({"VISION_TRACE_ENDPOINT": "http://127.0.0.1:1"}, f"['TraceRequests', {LAYERS}"),
    ],
)
def test_without_an_endpoint_nothing_of_it_is_imported(environment: dict[str, str], expected: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", OFF], env=dict(os.environ) | environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().endswith(expected)
