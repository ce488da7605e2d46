"""The Open Inference Protocol (KServe v2) with Triton's extensions: what tritonclient and its like speak."""

from __future__ import annotations

import time
from importlib.metadata import version as distribution_version
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from starlette.responses import Response

from service.bodies import read_chunks
from service.clients import client_of
from service.compression import coding_of_body, coding_wished
from service.errors import InvalidBody, ModelUnavailable, UnknownModel
from service.exchange import unless_gone
from service.gateway import Gateway, gateway_of, gateway_of_app
from service.manifest import VERSION, ModelCard
from service.observation import observed
from service.openapi import INFER_BODY, TENSOR_ANSWER, tensor_problems
from service.request_id import received_s
from service.tensor_documents import (
    EXTENSIONS,
    IndexEntry,
    InferAnswer,
    ModelMetadata,
    ModelReady,
    ServerLive,
    ServerMetadata,
    ServerReady,
    Statistics,
    index,
    model_config,
    model_metadata,
    statistics_of,
)
from service.tensor_path import Packet

router = APIRouter(prefix="/v2", tags=["open inference protocol"])
Gate = Annotated[Gateway, Depends(gateway_of)]
Name = Annotated[str, Path(max_length=200, description="As `POST /v2/repository/index` lists it.")]
Version = Annotated[str, Path(max_length=20, description=f"`{VERSION}`: each model has one.")]

_HEADER_LENGTH = "Inference-Header-Content-Length"


async def _model(gateway: Gate, name: Name) -> ModelCard:
    """The model of exactly that name. Raises UnknownModel, ModelNotExported."""
    return gateway.fleet.card(name)


async def _version(gateway: Gate, name: Name, version: Version) -> ModelCard:
    """The same, if that is its version."""
    card = gateway.fleet.card(name)
    if version != VERSION:
        raise UnknownModel(f"{name} has the version {VERSION}, no other", field="version")
    return card


Model = Annotated[ModelCard, Depends(_model)]
ModelVersion = Annotated[ModelCard, Depends(_version)]


@router.get("", operation_id="v2_server_metadata")
async def server_metadata() -> ServerMetadata:
    """What this server is, and which extensions of the protocol it has."""
    return ServerMetadata(name="vision-gateway", version=distribution_version("vision-gateway"), extensions=EXTENSIONS)


@router.get("/health/live", operation_id="v2_server_live")
async def server_live() -> ServerLive:
    """200 as long as the process answers at all."""
    return ServerLive(live=True)


@router.get("/health/ready", operation_id="v2_server_ready", responses=tensor_problems(503))
async def server_ready(gateway: Gate) -> ServerReady:
    """200 if a request would be answered: the engine is there and has a model."""
    gateway.fleet.require_ready()
    return ServerReady(ready=True)


@router.post("/repository/index", operation_id="v2_repository_index")
async def repository_index(gateway: Gate) -> list[IndexEntry]:
    """Every model, and whether it would answer now."""
    return index(gateway.fleet)


@router.get("/models/stats", operation_id="v2_statistics")
async def statistics(gateway: Gate) -> Statistics:
    """What every model has done since the gateway started."""
    records = gateway.pipeline.execution.statistics
    return Statistics(model_stats=[statistics_of(card.name, records.of(card.name)) for card in gateway.fleet.cards])


@router.get("/models/{name}", operation_id="v2_model_metadata", responses=tensor_problems(404))
async def metadata(card: Model) -> ModelMetadata:
    """The model's tensors."""
    return model_metadata(card)


@router.get(
    "/models/{name}/versions/{version}", operation_id="v2_model_version_metadata", responses=tensor_problems(404)
)
async def version_metadata(card: ModelVersion) -> ModelMetadata:
    """The model's tensors."""
    return model_metadata(card)


@router.get("/models/{name}/ready", operation_id="v2_model_ready", responses=tensor_problems(404, 503))
async def model_ready(gateway: Gate, card: Model) -> ModelReady:
    """200 if the model would answer now."""
    gateway.fleet.require_ready()
    if not gateway.fleet.loaded(card):
        raise ModelUnavailable(f"{card.name} is not in memory: {gateway.fleet.state(card.name)}", field="name")
    return ModelReady(name=card.name, ready=True)


@router.get(
    "/models/{name}/versions/{version}/ready",
    operation_id="v2_model_version_ready",
    responses=tensor_problems(404, 503),
)
async def version_ready(gateway: Gate, card: ModelVersion) -> ModelReady:
    """200 if the model would answer now."""
    return await model_ready(gateway, card)


@router.get("/models/{name}/config", operation_id="v2_model_config", responses=tensor_problems(404))
async def config(card: Model) -> dict[str, Any]:
    """The model's config.pbtxt as JSON; what is known of the model stands in its `parameters`."""
    return model_config(card)


@router.get(
    "/models/{name}/versions/{version}/config",
    operation_id="v2_model_version_config",
    responses=tensor_problems(404),
)
async def version_config(card: ModelVersion) -> dict[str, Any]:
    """The model's config.pbtxt as JSON; what is known of the model stands in its `parameters`."""
    return model_config(card)


@router.get("/models/{name}/stats", operation_id="v2_model_statistics", responses=tensor_problems(404))
async def model_statistics(gateway: Gate, card: Model) -> Statistics:
    """What the model has done since the gateway started."""
    return Statistics(model_stats=[statistics_of(card.name, gateway.pipeline.execution.statistics.of(card.name))])


@router.get(
    "/models/{name}/versions/{version}/stats",
    operation_id="v2_model_version_statistics",
    responses=tensor_problems(404),
)
async def version_statistics(gateway: Gate, card: ModelVersion) -> Statistics:
    """What the model has done since the gateway started."""
    return await model_statistics(gateway, card)


@router.post(
    "/models/{name}/infer",
    operation_id="v2_infer",
    response_model=InferAnswer,
    responses=TENSOR_ANSWER | tensor_problems(400, 404, 413, 415, 422, 500, 503, 504),
    openapi_extra=INFER_BODY,
)
async def infer(request: Request, name: Name) -> Response:
    """The model's outputs for a batch of pictures that already have its size."""
    gateway = gateway_of_app(request)
    return await _infer(request, gateway, await _model(gateway, name))


@router.post(
    "/models/{name}/versions/{version}/infer",
    operation_id="v2_version_infer",
    response_model=InferAnswer,
    responses=TENSOR_ANSWER | tensor_problems(400, 404, 413, 415, 422, 500, 503, 504),
    openapi_extra=INFER_BODY,
)
async def version_infer(request: Request, name: Name, version: Version) -> Response:
    """The model's outputs for a batch of pictures that already have its size."""
    gateway = gateway_of_app(request)
    return await _infer(request, gateway, await _version(gateway, name, version))


async def _infer(request: Request, gateway: Gateway, card: ModelCard) -> Response:
    client = client_of(request.scope)
    ask = gateway.tensors.ask(card, received_s(request.scope), client)
    with observed(gateway.metrics, card.task, ask) as seen:
        gateway.fleet.require_ready()
        packet, read_ms = await _read_packet(request, gateway)
        answered = await unless_gone(request, gateway.tensors.serve(card, packet, ask, client))
        seen.tier = answered.ask.tier
        timing_ms = {"read": read_ms, **answered.timing_ms}
        seen.ran(card, answered.rows, answered.ask, timing_ms)
    headers = {
        "X-Model": card.name,
        "Server-Timing": ", ".join(f"{name};dur={ms:.3f}" for name, ms in timing_ms.items()),
    }
    if answered.json_bytes is not None:
        headers[_HEADER_LENGTH] = str(answered.json_bytes)
    if packet.answer_coding is not None:
        headers["Content-Encoding"] = packet.answer_coding
    media_type = "application/json" if answered.json_bytes is None else "application/octet-stream"
    return Response(answered.body, media_type=media_type, headers=headers)


async def _read_packet(request: Request, gateway: Gateway) -> tuple[Packet, float]:
    """The body and what its headers say of it, and how many milliseconds it took to arrive."""
    settings, started_s = gateway.settings, received_s(request.scope)
    headers = request.headers
    header_bytes = headers.get(_HEADER_LENGTH)
    if header_bytes is not None and not (header_bytes.isdecimal() and len(header_bytes) < 12):
        raise InvalidBody(f"{_HEADER_LENGTH} is {header_bytes[:40]!r}, must be a number of bytes", field=_HEADER_LENGTH)
    coding = coding_of_body(headers.get("content-encoding"))
    # Grown as it arrives: joined at the end, 32 MiB would keep everybody else waiting for ten milliseconds.
    body = bytearray()
    await read_chunks(request, settings.max_tensor_bytes, settings.body_timeout_s, body.extend)
    packet = Packet(
        body, int(header_bytes) if header_bytes else None, coding, coding_wished(headers.get("accept-encoding"))
    )
    return packet, (time.monotonic() - started_s) * 1e3
