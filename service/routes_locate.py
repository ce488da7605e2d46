"""detect and segment: where things are. Query and body in, pipeline, document or picture out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.answers import detect_answers, segment_answers
from service.ask import Ask
from service.bodies import Picture
from service.errors import InvalidParameter
from service.exchange import ask_of, kind_of, read_body, respond, respond_pictured, unless_gone
from service.findings import Pictured, View, detect_finish, segment_finish
from service.gateway import Gateway, gateway_of_app
from service.graph_contract import contract_outputs
from service.label_sets import label_names
from service.manifest import SegmentKind
from service.observation import observed
from service.openapi import PICTURE_ANSWER, pictures_and, problems
from service.pipeline import Served
from service.query import query_of
from service.request_id import request_id
from service.schemas import (
    DetectAnswer,
    DetectAnswers,
    DetectQuery,
    FindQuery,
    SegmentAnswer,
    SegmentAnswers,
    SegmentQuery,
    Wire,
)
from service.tasks.detect import class_ids

router = APIRouter()

# A map has neither scores to cut at nor a number of things to stop at.
_OF_THINGS = ("score_threshold", "max_detections")


@router.post(
    "/v1/detect",
    operation_id="detect",
    tags=["inference"],
    response_model=DetectAnswer | DetectAnswers,
    responses=PICTURE_ANSWER | problems(400, 404, 413, 415, 422, 500, 503, 504),
    openapi_extra=pictures_and(DetectQuery),
)
async def detect(request: Request) -> Response:
    """The things in each picture: class, score and box."""
    gateway, query = gateway_of_app(request), query_of(request, DetectQuery)
    finish = detect_finish(query, _view(request, query))
    ask = ask_of(request, gateway.settings, query, "detect", contract_outputs("detect"))
    with observed(gateway.metrics, "detect", ask) as seen:
        served, read_ms = await _serve(request, gateway, query, replace(ask, finish=finish))
        answers = detect_answers(served, ask, request_id(request.scope), read_ms)
        timing_ms = answers[0].timing_ms
        seen.answered(served, ask, timing_ms)
    one_or_all = answers[0] if len(answers) == 1 else DetectAnswers(id=answers[0].id, answers=answers)
    return _respond(one_or_all, served, timing_ms)


@router.post(
    "/v1/segment",
    operation_id="segment",
    tags=["inference"],
    response_model=SegmentAnswer | SegmentAnswers,
    responses=PICTURE_ANSWER | problems(400, 404, 413, 415, 422, 500, 503, 504),
    openapi_extra=pictures_and(SegmentQuery),
)
async def segment(request: Request) -> Response:
    """The pixels of each picture: a class for every pixel, a mask for every thing, or both."""
    gateway, query = gateway_of_app(request), query_of(request, SegmentQuery)
    view = _view(request, query)
    ask = ask_of(request, gateway.settings, query, "segment", ())
    with observed(gateway.metrics, "segment", ask) as seen:
        gateway.fleet.require_ready()
        kind = kind_of(gateway, query.model, query.kind)
        _refuse_what_means_nothing(query, kind)
        finish = segment_finish(query, kind, view)
        outputs = contract_outputs("segment", kind)
        ask = replace(ask, kind=kind, outputs=outputs, finish=finish)
        served, read_ms = await _serve(request, gateway, query, ask)
        answers = segment_answers(served, ask, request_id(request.scope), read_ms)
        timing_ms = answers[0].timing_ms
        seen.answered(served, ask, timing_ms)
    one_or_all = answers[0] if len(answers) == 1 else SegmentAnswers(id=answers[0].id, answers=answers)
    return _respond(one_or_all, served, timing_ms)


async def _serve(request: Request, gateway: Gateway, query: FindQuery, ask: Ask) -> tuple[Served, float]:
    """What the pipeline served, and how long the body took to arrive."""
    # Before the body is read; which model answers is not yet known, but all that may have the same classes.
    card = gateway.fleet.candidates(ask.model, ask.task, ask.kind).cards[0]
    class_ids(query.classes, label_names(card), ask.model or card.name)
    pictures, read_ms = await read_body(request, gateway, ask)
    _refuse_several(pictures, query, _view(request, query))
    return await unless_gone(request, gateway.pipeline.serve(pictures, ask)), read_ms


def _view(request: Request, query: FindQuery) -> View:
    """What the client takes: `Accept: image/png` asks for PNG wherever the answer can be a picture."""
    accepted = [part.split(";")[0].strip().lower() for part in request.headers.get("accept", "").split(",")]
    wants_png = "image/png" in accepted
    if query.overlay:
        return "overlay-png" if wants_png else "overlay-jpeg"
    if wants_png and isinstance(query, SegmentQuery) and query.mask_format == "png":
        return "png"
    return "json"


def _refuse_several(pictures: list[Picture], query: FindQuery, view: View) -> None:
    if view != "json" and len(pictures) > 1:
        raise InvalidParameter(
            f"the answer to overlay=true or Accept: image/png is one picture; {len(pictures)} were sent",
            field="overlay" if query.overlay else "Accept",
            limit="1 picture",
        )


def _refuse_what_means_nothing(query: SegmentQuery, kind: SegmentKind) -> None:
    for name in _OF_THINGS:
        if kind != "instance" and name in query.model_fields_set:
            raise InvalidParameter(f"{name} goes with kind=instance, this is kind={kind}", field=name)


def _respond(document: Wire, served: Served, timing_ms: dict[str, Any]) -> Response:
    result = served.pictures[0].result
    if isinstance(result, Pictured):
        return respond_pictured(result.data, result.media_type, served, timing_ms)
    return respond(document, served, timing_ms)
