"""The HTTP surface, thin: query and body in, pipeline, document out."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.responses import Response

from service.answers import classify_answers, embed_answers, model_info, route_answer
from service.ask import Ask, Strategy
from service.bodies import BodyLimits, Picture, read_pictures
from service.errors import InvalidParameter
from service.gateway import Gateway, gateway_of
from service.image_header import ImageHeader, read_header
from service.manifest import Task
from service.observation import observed
from service.openapi import PICTURE_BODY, problems
from service.pipeline import Served
from service.request_id import received_s, request_id
from service.schemas import (
    ClassifyAnswer,
    ClassifyAnswers,
    ClassifyQuery,
    EmbedAnswer,
    EmbedAnswers,
    EmbedQuery,
    Health,
    ModelInfo,
    ModelList,
    RouteAnswer,
    RouteQuery,
    Wire,
)
from service.settings import Settings
from service.tasks.classify import check_top_k

router = APIRouter()
Gate = Annotated[Gateway, Depends(gateway_of)]
T = TypeVar("T")

# What a picture costs to decode when /v1/route is asked without one.
_TYPICAL_PICTURE = ImageHeader("jpeg", 640, 480)


@router.post(
    "/v1/classify",
    operation_id="classify",
    tags=["inference"],
    response_model=ClassifyAnswer | ClassifyAnswers,
    responses=problems(400, 404, 413, 415, 422, 500, 503, 504),
    openapi_extra=PICTURE_BODY,
)
async def classify(request: Request, gateway: Gate, query: Annotated[ClassifyQuery, Query()]) -> Response:
    """The most likely classes of each picture."""
    ask = _ask(request, gateway.settings, query, "classify", ("probabilities",), query.strategy)
    with observed(gateway.metrics, "classify", ask) as seen:
        _check_top_k(gateway, ask, query.top_k)
        pictures, read_ms = await _read(request, gateway, ask)
        served = await _unless_gone(request, gateway.pipeline.serve(pictures, ask))
        answers = classify_answers(
            served, ask, request_id(request.scope), top_k=query.top_k, temperature=query.temperature, read_ms=read_ms
        )
        seen.answered(served, ask, answers[0].timing_ms)
    if len(answers) == 1:
        return _respond(answers[0], served, answers[0].timing_ms)
    return _respond(ClassifyAnswers(id=answers[0].id, answers=answers), served, answers[0].timing_ms)


@router.post(
    "/v1/embed",
    operation_id="embed",
    tags=["inference"],
    response_model=EmbedAnswer | EmbedAnswers,
    responses=problems(400, 404, 413, 415, 422, 500, 503, 504),
    openapi_extra=PICTURE_BODY,
)
async def embed(request: Request, gateway: Gate, query: Annotated[EmbedQuery, Query()]) -> Response:
    """Each picture as a vector: the classifier's input. Compare only vectors of the same model: name one."""
    ask = _ask(request, gateway.settings, query, "classify", ("embedding",))
    with observed(gateway.metrics, "embed", ask) as seen:
        pictures, read_ms = await _read(request, gateway, ask)
        served = await _unless_gone(request, gateway.pipeline.serve(pictures, ask))
        identity = request_id(request.scope)
        answers = embed_answers(served, ask, identity, normalise=query.normalise, read_ms=read_ms)
        seen.answered(served, ask, answers[0].timing_ms)
    if len(answers) == 1:
        return _respond(answers[0], served, answers[0].timing_ms)
    return _respond(EmbedAnswers(id=identity, answers=answers), served, answers[0].timing_ms)


@router.post(
    "/v1/route",
    operation_id="route",
    tags=["inference"],
    responses=problems(400, 404, 413, 415, 422, 503),
    openapi_extra=PICTURE_BODY,
)
async def route(
    request: Request,
    gateway: Gate,
    query: Annotated[RouteQuery, Query()],
) -> RouteAnswer:
    """Which model would answer now, and why not the others; nothing is run. No picture: as for a 640×480 JPEG."""
    ask = _ask(request, gateway.settings, query, "classify", ("probabilities",))
    gateway.fleet.require_ready()
    header = None
    if request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers:
        pictures, _ = await _read(request, gateway, ask)
        header = read_header(pictures[0].data, gateway.pipeline.size_limits, field=pictures[0].field)
    looked = gateway.pipeline.chooser.look([header or _TYPICAL_PICTURE], ask)
    return route_answer(request_id(request.scope), ask, header, looked)


@router.get("/v1/models", operation_id="list_models", tags=["models"])
async def list_models(gateway: Gate) -> ModelList:
    """Every model there is, with its accuracy, provenance, verification and profile."""
    fleet = gateway.fleet
    return ModelList(
        engine=gateway.engine.name,
        providers=list(gateway.engine.providers()),
        ready=fleet.ready,
        models=[model_info(card, gateway.predictor) for card in fleet.cards],
    )


@router.get("/v1/models/{name}", operation_id="get_model", tags=["models"], responses=problems(404))
async def get_model(gateway: Gate, name: Annotated[str, Path(max_length=200)]) -> ModelInfo:
    """One model."""
    return model_info(gateway.fleet.card(name), gateway.predictor)


@router.get("/health/live", operation_id="live", tags=["health"])
async def live() -> Health:
    """200 as long as the process answers at all."""
    return Health(status="live")


@router.get("/health/ready", operation_id="ready", tags=["health"], responses=problems(503))
async def ready(gateway: Gate) -> Health:
    """200 if a request would be answered: the engine is there and has a model."""
    gateway.fleet.require_ready()
    return Health(status="ready")


@router.get("/metrics", operation_id="metrics", tags=["health"], response_class=Response)
async def metrics(gateway: Gate) -> Response:
    """Prometheus, as OpenMetrics text."""
    return Response(gateway.metrics.exposition(), media_type=gateway.metrics.content_type)


def _ask(
    request: Request,
    settings: Settings,
    query: RouteQuery,
    task: Task,
    outputs: tuple[str, ...],
    strategy: Strategy = "single",
) -> Ask:
    """The query in the pipeline's terms. Raises InvalidParameter for two budgets, or one that is too long."""
    budget_ms = query.latency_budget_ms
    header = request.headers.get("x-latency-budget-ms")
    if header is not None:
        if budget_ms is not None:
            raise InvalidParameter(
                "the budget is given twice, in the query and in a header", field="X-Latency-Budget-Ms"
            )
        budget_ms = _positive_ms(header)
    if budget_ms is not None and query.tier is not None:
        raise InvalidParameter("give a tier or a budget, not both", field="tier")
    if budget_ms is not None and budget_ms > settings.max_budget_ms:
        limit = f"{settings.max_budget_ms:g} ms"
        raise InvalidParameter(f"the budget is above {limit}", field="latency_budget_ms", limit=limit)
    tier, allowed_ms = _tier(settings, query, budget_ms)
    return Ask(
        task=task,
        outputs=outputs,
        tier=tier,
        budget_ms=allowed_ms,
        received_s=received_s(request.scope),
        model=query.model,
        min_accuracy=query.min_accuracy,
        degrade=query.on_infeasible == "degrade",
        keep_late=query.late == "return",
        priority=query.priority,
        strategy=strategy,
    )


def _tier(settings: Settings, query: RouteQuery, budget_ms: float | None) -> tuple[Any, float]:
    """The tier's label and its budget. A model named without a budget may take as long as any request may."""
    if budget_ms is not None:
        return "custom", budget_ms
    if query.tier is not None:
        return query.tier, settings.tier_budget_ms(query.tier)
    if query.model is not None:
        return "none", settings.max_budget_ms
    return "standard", settings.tier_budget_ms("standard")


def _positive_ms(text: str) -> float:
    try:
        budget_ms = float(text)
    except ValueError:
        budget_ms = 0.0
    if not 0.0 < budget_ms < float("inf"):
        raise InvalidParameter(
            f"X-Latency-Budget-Ms is {text[:40]!r}, must be a number of milliseconds above 0",
            field="X-Latency-Budget-Ms",
            limit="above 0 ms",
        )
    return budget_ms


def _check_top_k(gateway: Gateway, ask: Ask, top_k: int) -> None:
    """Before the body is read; which model answers is not yet known, but all that may have the same classes."""
    variants = gateway.fleet.pinned(ask.model, "classify") if ask.model else gateway.fleet.routable("classify")
    card = variants.cards[0]
    classes = card.output("probabilities")
    if classes is not None:
        check_top_k(top_k, classes.dims[0], ask.model or card.name)


async def _read(request: Request, gateway: Gateway, ask: Ask) -> tuple[list[Picture], float]:
    settings = gateway.settings
    before_ms = ask.spent_ms()
    limits = BodyLimits(settings.max_body_bytes, settings.max_images, settings.body_timeout_s)
    pictures = await read_pictures(request, limits)
    return pictures, ask.spent_ms() - before_ms


async def _unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The work's result; if the client hangs up first, the work is cancelled before it costs anything more."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_hung_up(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
        return await task
    finally:
        gone.cancel()
        task.cancel()


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _respond(document: Wire, served: Served, timing_ms: dict[str, float]) -> Response:
    server_timing = ", ".join(f"{name};dur={ms}" for name, ms in timing_ms.items())
    headers = {"X-Model": served.card.name, "Server-Timing": server_timing}
    return Response(document.model_dump_json(), media_type="application/json", headers=headers)
