"""gRPC for who speaks it: each call becomes the request of /v2 that means the same, within this process.

So whatever the HTTP side asks of a request (keys, limits, permits, deadlines, metrics) is asked of this one too, and
answered by the same code: there is no second door. Metadata travels as headers.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote, unquote

import grpc
from google.protobuf.json_format import ParseDict
from starlette.types import ASGIApp, Message
from tritonclient.grpc import service_pb2 as wire
from tritonclient.grpc import service_pb2_grpc

from service.settings import Settings

_CODES = {
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    405: grpc.StatusCode.UNIMPLEMENTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
# Beside the tensors: names, shapes, parameters.
_ENVELOPE_BYTES = 64 * 1024
# gRPC's own, and what is ours to say of the body.
_NOT_FORWARDED = ("grpc-", ":", "content-", "te", "user-agent", "host", "accept-encoding", "inference-header-")


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class GrpcFront(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Triton's inference service in front of an ASGI app that has /v2. What is not here is UNIMPLEMENTED."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        self._address = f"{host}:{settings.grpc_port}"
        self._max_bytes = settings.max_tensor_bytes
        self._most_calls = settings.max_in_flight
        self._max_budget_ms = settings.max_budget_ms
        self._tls = (Path(settings.tls_key), Path(settings.tls_cert)) if settings.tls_cert else None
        self._server: grpc.aio.Server | None = None

    def bind(self) -> None:
        """Takes the address; nobody is answered yet. Raises RuntimeError if somebody else has it."""
        options = [
            ("grpc.max_receive_message_length", self._max_bytes + _ENVELOPE_BYTES),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),
        ]
        # More calls than requests may be in flight would only be refused, each with its whole message in memory.
        self._server = grpc.aio.server(options=options, maximum_concurrent_rpcs=self._most_calls)
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, self._server)
        if self._tls is None:
            self._server.add_insecure_port(self._address)
        else:
            key, certificate = (path.read_bytes() for path in self._tls)
            self._server.add_secure_port(self._address, grpc.ssl_server_credentials([(key, certificate)]))

    async def start(self) -> None:
        """Answers from now on."""
        if self._server is not None:
            await self._server.start()

    async def stop(self, grace_s: float) -> None:
        """No new calls from now on; returns when those that run are answered, or after `grace_s`."""
        if self._server is not None:
            server, self._server = self._server, None
            await server.stop(grace_s)

    async def ServerLive(self, request: Any, context: Any) -> Any:  # noqa: N802
        return wire.ServerLiveResponse(live=await self._ready("/v2/health/live", context))

    async def ServerReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        return wire.ServerReadyResponse(ready=await self._ready("/v2/health/ready", context))

    async def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        return wire.ModelReadyResponse(ready=await self._ready(_path(request.name, request.version, "/ready"), context))

    async def ServerMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        return ParseDict(await self._get("/v2", context), wire.ServerMetadataResponse())

    async def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        document = await self._get(_path(request.name, request.version), context)
        return ParseDict(document, wire.ModelMetadataResponse())

    async def ModelConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        document = await self._get(_path(request.name, request.version, "/config"), context)
        return ParseDict({"config": document}, wire.ModelConfigResponse())

    async def ModelStatistics(self, request: Any, context: Any) -> Any:  # noqa: N802
        path = _path(request.name, request.version, "/stats") if request.name else "/v2/models/stats"
        return ParseDict(await self._get(path, context), wire.ModelStatisticsResponse())

    async def RepositoryIndex(self, request: Any, context: Any) -> Any:  # noqa: N802
        answer = await self._call("POST", "/v2/repository/index", context, [], {})
        if answer.status != 200:
            await _abort(answer, context)
        models = [model for model in answer.json() if model["state"] == "READY" or not request.ready]
        return ParseDict({"models": models}, wire.RepositoryIndexResponse())

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        tensors = list(request.raw_input_contents) or _contents(request)
        if len(tensors) != len(request.inputs):
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"{len(request.inputs)} inputs, but {len(tensors)} raw_input_contents or uint_contents of 0..255",
            )
        head = json.dumps(self._as_json(request, tensors, context)).encode()
        path = _path(request.model_name, request.model_version, "/infer")
        headers = {"inference-header-content-length": str(len(head))}
        answer = await self._call("POST", path, context, [head, *tensors], headers)
        if answer.status != 200:
            await _abort(answer, context)
        return _as_message(answer)

    def _as_json(self, request: Any, tensors: list[bytes], context: Any) -> dict[str, Any]:
        parameters = _parameters(request.parameters)
        remaining_s = context.time_remaining()
        if "timeout" not in parameters and remaining_s is not None and remaining_s * 1e3 < self._max_budget_ms:
            parameters["timeout"] = max(1, int(remaining_s * 1e6))
        return {
            "id": request.id,
            "parameters": parameters | {"binary_data_output": True},
            "inputs": [
                {
                    "name": tensor.name,
                    "shape": list(tensor.shape),
                    "datatype": tensor.datatype,
                    "parameters": _parameters(tensor.parameters) | {"binary_data_size": len(data)},
                }
                for tensor, data in zip(request.inputs, tensors, strict=True)
            ],
            "outputs": [
                {"name": output.name, "parameters": _parameters(output.parameters) | {"binary_data": True}}
                for output in request.outputs
            ],
        }

    async def _ready(self, path: str, context: Any) -> bool:
        answer = await self._call("GET", path, context, [], {})
        if answer.status not in (200, 404, 503):
            await _abort(answer, context)
        return answer.status == 200

    async def _get(self, path: str, context: Any) -> dict[str, Any]:
        answer = await self._call("GET", path, context, [], {})
        if answer.status != 200:
            await _abort(answer, context)
        document: dict[str, Any] = answer.json()
        return document

    async def _call(
        self, method: str, path: str, context: Any, body: list[bytes], headers: Mapping[str, str]
    ) -> _Answer:
        """The app's answer to that request. Cancelling the call cancels the request."""
        forwarded = [
            (name.encode(), value.encode() if isinstance(value, str) else value)
            for name, value in context.invocation_metadata() or ()
            if not name.startswith(_NOT_FORWARDED) and not name.endswith("-bin")
        ]
        own = {"content-length": str(sum(map(len, body))), "content-type": "application/octet-stream", **headers}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "2",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": quote(path).encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [*forwarded, *((name.encode(), value.encode()) for name, value in own.items())],
            "client": _peer(context.peer()),
            "server": None,
        }
        return await _asgi(self._app, scope, body)


async def _asgi(app: ASGIApp, scope: dict[str, Any], body: list[bytes]) -> _Answer:
    left, start, parts = list(body), dict[str, Any](), list[bytes]()

    async def receive() -> Message:
        if not left and "read" in scope:
            await asyncio.Event().wait()  # whoever hangs up cancels the call, and this with it
        scope["read"] = True
        piece = left.pop(0) if left else b""
        return {"type": "http.request", "body": piece, "more_body": bool(left)}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
        else:
            parts.append(message.get("body", b""))

    await app(scope, receive, send)
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in start["headers"]}
    return _Answer(start["status"], headers, b"".join(parts))


def _as_message(answer: _Answer) -> Any:
    end = int(answer.headers["inference-header-content-length"])
    document = json.loads(answer.body[:end])
    response = wire.ModelInferResponse(
        model_name=document["model_name"], model_version=document["model_version"], id=document.get("id", "")
    )
    for output in document["outputs"]:
        response.outputs.add(name=output["name"], datatype=output["datatype"], shape=output["shape"])
        size = output["parameters"]["binary_data_size"]
        response.raw_output_contents.append(answer.body[end : end + size])
        end += size
    return response


def _contents(request: Any) -> list[bytes]:
    """The inputs' bytes where they stand as numbers; only 0..255 can be bytes."""
    try:
        return [bytes(tensor.contents.uint_contents) for tensor in request.inputs if tensor.contents.uint_contents]
    except ValueError:
        return []


def _parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    chosen = {name: value.WhichOneof("parameter_choice") for name, value in parameters.items()}
    return {name: getattr(parameters[name], choice) for name, choice in chosen.items() if choice}


def _path(name: str, version: str, end: str = "") -> str:
    return f"/v2/models/{name}" + (f"/versions/{version}" if version else "") + end


def _peer(peer: str) -> tuple[str, int] | None:
    """`ipv4:127.0.0.1:50000` or `ipv6:%5B::1%5D:50000` as ASGI has it."""
    address, _, port = unquote(peer).partition(":")[2].rpartition(":")
    return (address.strip("[]"), int(port)) if port.isdecimal() else None


async def _abort(answer: _Answer, context: Any) -> NoReturn:
    document = answer.json()
    sentence = document.get("error") or document.get("detail") or "refused"
    await context.abort(_CODES.get(answer.status, grpc.StatusCode.INVALID_ARGUMENT), sentence)
    raise AssertionError("abort raises")
