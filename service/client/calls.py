"""Calls, ready to be sent, and what will be made of their answers. No I/O but reading the files that were named."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast
from urllib.parse import quote

from service.client.answers import classification, detections, embedding, model_info, route_answer, segmentation
from service.client.located import Detections, Segmentation
from service.client.options import (
    ClassifyOptions,
    DetectOptions,
    EmbedOptions,
    RouteOptions,
    SegmentOptions,
    Tier,
    params_of,
)
from service.client.pictures import Picture, Source, source_of
from service.client.results import Classification, Embedding, ModelInfo, Readiness, Route

T = TypeVar("T", covariant=True)
Result = TypeVar("Result")
Pictures = Picture | Sequence[Picture]
Document = Mapping[str, Any]

_RAW = "application/octet-stream"  # the gateway judges a picture by its first bytes


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request. `read` makes the result of the answer's JSON."""

    method: str
    path: str
    params: Mapping[str, Any]
    read: Callable[[Any], T]
    sources: tuple[Source, ...] = ()

    def body(self) -> dict[str, Any]:
        """httpx's arguments for the body: one picture as it is, several as a form."""
        if not self.sources:
            return {}
        if len(self.sources) == 1:
            return {"content": self.sources[0].data, "headers": {"Content-Type": _RAW}}
        return {"files": [("image", (f"{i}", source.data, _RAW)) for i, source in enumerate(self.sources)]}


def classify(
    pictures: Pictures, options: Mapping[str, Any], tier: Tier | None
) -> Call[Classification | list[Classification]]:
    params = params_of("classify", options, ClassifyOptions, tier)
    return _of_pictures("/v1/classify", pictures, params, classification)


def embed(pictures: Pictures, options: Mapping[str, Any], tier: Tier | None) -> Call[Embedding | list[Embedding]]:
    params = params_of("embed", options, EmbedOptions, tier)
    return _of_pictures("/v1/embed", pictures, params, embedding)


def detect(pictures: Pictures, options: Mapping[str, Any], tier: Tier | None) -> Call[Detections | list[Detections]]:
    params = params_of("detect", options, DetectOptions, tier)
    return _of_pictures("/v1/detect", pictures, params, detections)


def segment(
    pictures: Pictures, options: Mapping[str, Any], tier: Tier | None
) -> Call[Segmentation | list[Segmentation]]:
    params = params_of("segment", options, SegmentOptions, tier)
    return _of_pictures("/v1/segment", pictures, params, segmentation)


def route(picture: Picture | None, options: Mapping[str, Any], tier: Tier | None) -> Call[Route]:
    params = params_of("route", options, RouteOptions, tier)
    sources = () if picture is None else (source_of(picture),)
    return Call("POST", "/v1/route", params, route_answer, sources)


def models() -> Call[tuple[ModelInfo, ...]]:
    return Call("GET", "/v1/models", {}, lambda document: tuple(model_info(one) for one in document["models"]))


def model(name: str) -> Call[ModelInfo]:
    return Call("GET", f"/v1/models/{quote(name, safe='')}", {}, model_info)


def ready() -> Call[Readiness]:
    return Call("GET", "/health/ready", {}, lambda document: Readiness(document["status"] == "ready", ""))


def _of_pictures(
    path: str, pictures: Pictures, params: dict[str, Any], read_one: Callable[[Document, Source], Result]
) -> Call[Result | list[Result]]:
    """One result for one picture; for a sequence of them a list, in its order."""
    if isinstance(pictures, str | bytes | bytearray | memoryview) or not isinstance(pictures, Sequence):
        source = source_of(pictures)
        return Call("POST", path, params, lambda document: read_one(document, source), (source,))
    if not pictures:
        raise ValueError("the list holds no picture")
    sources = tuple(source_of(one) for one in cast(Sequence[Picture], pictures))

    def read_all(document: Document) -> list[Result]:
        answers = document["answers"] if len(sources) > 1 else [document]
        return [read_one(answer, source) for answer, source in zip(answers, sources, strict=True)]

    return Call("POST", path, params, read_all, sources)
