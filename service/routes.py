"""The HTTP surface, thin: query and body in, pipeline, document out."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, get_args

from fastapi import APIRouter, Depends, Path, Request
from starlette.responses import Response

from service.answers import classify_answers, embed_answers, model_detail, model_info, route_answer
from service.ask import Ask, Finish
from service.errors import InvalidParameter
from service.exchange import ask_of, kind_of, read_body, respond, unless_gone
from service.gateway import Gateway, gateway_of, gateway_of_app
from service.image_header import ImageHeader, read_header
from service.observation import observed
from service.openapi import pictures_and, problems
from service.query import query_of
from service.request_id import request_id
from service.schemas import (
    ClassifyAnswer,
    ClassifyAnswers,
    ClassifyQuery,
    EmbedAnswer,
    EmbedAnswers,
    EmbedQuery,
    Health,
    ModelDetail,
    ModelList,
    Readiness,
    RouteAnswer,
    RouteTaskQuery,
)
from service.settings import Tier
from service.tasks.classify import check_top_k

router = APIRouter()
Gate = Annotated[Gateway, Depends(gateway_of)]

# What a picture costs to decode when /v1/route is asked without one.
_TYPICAL_PICTURE = ImageHeader("jpeg", 640, 480)


@router.post(
    "/v1/classify",
    operation_id="classify",
    tags=["inference"],
    response_model=ClassifyAnswer | ClassifyAnswers,
    responses=problems(400, 404, 413, 415, 422, 500, 503, 504),
    openapi_extra=pictures_and(ClassifyQuery),
)
async def classify(request: Request) -> Response:
    """The most likely classes of each picture."""
    gateway, query = gateway_of_app(request), query_of(request, ClassifyQuery)
    ask = ask_of(request, gateway.settings, query, "classify", ("probabilities",), query.strategy)
    with observed(gateway.metrics, "classify", ask) as seen:
        _check_top_k(gateway, ask, query.top_k)
        pictures, read_ms = await read_body(request, gateway, ask)
        served = await unless_gone(request, gateway.pipeline.serve(pictures, ask))
        answers = classify_answers(
            served, ask, request_id(request.scope), top_k=query.top_k, temperature=query.temperature, read_ms=read_ms
        )
        seen.answered(served, ask, answers[0].timing_ms)
    if len(answers) == 1:
        return respond(answers[0], served, answers[0].timing_ms)
    return respond(ClassifyAnswers(id=answers[0].id, answers=answers), served, answers[0].timing_ms)


@router.post(
    "/v1/embed",
    operation_id="embed",
    tags=["inference"],
    response_model=EmbedAnswer | EmbedAnswers,
    responses=problems(400, 404, 413, 415, 422, 500, 503, 504),
    openapi_extra=pictures_and(EmbedQuery),
)
async def embed(request: Request) -> Response:
    """Each picture as a vector: the classifier's input. Compare only vectors of the same model: name one."""
    gateway, query = gateway_of_app(request), query_of(request, EmbedQuery)
    ask = ask_of(request, gateway.settings, query, "classify", ("embedding",))
    with observed(gateway.metrics, "embed", ask) as seen:
        pictures, read_ms = await read_body(request, gateway, ask)
        served = await unless_gone(request, gateway.pipeline.serve(pictures, ask))
        identity = request_id(request.scope)
        answers = embed_answers(served, ask, identity, normalise=query.normalise, read_ms=read_ms)
        seen.answered(served, ask, answers[0].timing_ms)
    if len(answers) == 1:
        return respond(answers[0], served, answers[0].timing_ms)
    return respond(EmbedAnswers(id=identity, answers=answers), served, answers[0].timing_ms)


@router.post(
    "/v1/route",
    operation_id="route",
    tags=["inference"],
    response_model=RouteAnswer,
    responses=problems(400, 404, 413, 415, 422, 503),
    openapi_extra=pictures_and(RouteTaskQuery),
)
async def route(request: Request) -> Response:
    """Which model would answer now, and why not the others; nothing is run. No picture: as for a 640×480 JPEG."""
    gateway, query = gateway_of_app(request), query_of(request, RouteTaskQuery)
    if query.kind is not None and query.task != "segment":
        raise InvalidParameter("kind goes with task=segment", field="kind")
    ask = ask_of(request, gateway.settings, query, query.task, ())
    gateway.fleet.require_ready()
    if query.task == "segment":
        kind = kind_of(gateway, query.model, query.kind)
        ask = replace(ask, kind=kind, finish=Finish("masks" if kind == "instance" else "map", lambda raw: None))
    header = None
    if request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers:
        pictures, _ = await read_body(request, gateway, ask, to_run=False)
        header = read_header(pictures[0].data, gateway.pipeline.size_limits, field=pictures[0].field)
    looked = gateway.pipeline.chooser.look([header or _TYPICAL_PICTURE], ask)
    answer = route_answer(request_id(request.scope), ask, header, looked, gateway.fleet)
    return Response(answer.model_dump_json(), media_type="application/json")


@router.get("/v1/models", operation_id="list_models", tags=["models"])
async def list_models(gateway: Gate) -> ModelList:
    """Every model there is, with its accuracy, provenance, verification and profile."""
    fleet = gateway.fleet
    return ModelList(
        engine=gateway.engine.name,
        providers=list(gateway.engine.providers()),
        ready=fleet.ready,
        tiers_ms={tier: gateway.settings.tier_budget_ms(tier) for tier in get_args(Tier)},
        max_budget_ms=gateway.settings.max_budget_ms,
        models=[model_info(card, gateway.predictor, fleet) for card in fleet.cards],
    )


@router.get("/v1/models/{name}", operation_id="get_model", tags=["models"], responses=problems(404))
async def get_model(
    gateway: Gate, name: Annotated[str, Path(max_length=200, description="As `GET /v1/models` lists it.")]
) -> ModelDetail:
    """One model, with the names of its classes."""
    return model_detail(gateway.fleet.card(name), gateway.predictor, gateway.fleet)


@router.get("/health/live", operation_id="live", tags=["health"])
async def live() -> Health:
    """200 as long as the process answers at all."""
    return Health(status="live")


@router.get("/health/ready", operation_id="ready", tags=["health"], responses=problems(503))
async def ready(gateway: Gate) -> Readiness:
    """200 if a request would be answered: the engine is there and has a model that does not always fail."""
    gateway.fleet.require_well()
    cards = gateway.fleet.loaded_cards
    return Readiness(status="ready", failing=[card.name for card in cards if gateway.fleet.circuit(card) != "closed"])


def _check_top_k(gateway: Gateway, ask: Ask, top_k: int) -> None:
    """Before the body is read; which model answers is not yet known, but all that may have the same classes."""
    variants = gateway.fleet.candidates(ask.model, "classify")
    card = variants.cards[0]
    classes = card.output("probabilities")
    if classes is not None:
        check_top_k(top_k, classes.dims[0], ask.model or card.name)
