"""The gateway's JSON → results. KeyError, TypeError or ValueError: it is no gateway's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from service.client.located import Detections, Segmentation, Thing
from service.client.pictures import Source
from service.client.results import (
    Accuracy,
    Candidate,
    Classification,
    Embedding,
    Model,
    ModelInfo,
    Route,
    Routing,
)

Document = Mapping[str, Any]


def classification(document: Document, source: Source) -> Classification:
    found = document["predictions"]
    return Classification(
        labels=tuple(one["label"] for one in found),
        class_ids=_frozen([one["class_id"] for one in found], np.int64),
        scores=_frozen([one["score"] for one in found], np.float32),
        **_common(document, source),
    )


def embedding(document: Document, source: Source) -> Embedding:
    return Embedding(vector=_frozen(document["embedding"], np.float32), **_common(document, source))


def detections(document: Document, source: Source) -> Detections:
    return Detections(things=_things(document), **_common(document, source))


def segmentation(document: Document, source: Source) -> Segmentation:
    found = document["predictions"]
    return Segmentation(
        kind=document["kind"],
        things=_things(document),
        areas_px=tuple(one["area_px"] for one in found),
        rles=tuple(one["rle"]["counts"] for one in found),
        **_common(document, source),
    )


def route_answer(document: Document) -> Route:
    image, chosen = document["image"], document["routing"]
    return Route(
        id=document["id"],
        task=document["task"],
        image_hw=(image["height"], image["width"]) if image else None,
        model=document["model"],
        routing=_routing(chosen) if chosen else None,
        refused=document["refused"],
        candidates=tuple(
            Candidate(
                one["model"], one["accuracy"], one["predicted_ms"], one["typical_ms"], one["chosen"], one["why_not"]
            )
            for one in document["candidates"]
        ),
        document=document,
    )


def model_info(document: Document) -> ModelInfo:
    accuracy, weights, size = document["accuracy"], document["weights"], document["input"]
    return ModelInfo(
        name=document["name"],
        variant_of=document["variant_of"],
        task=document["task"],
        segment_kind=document["segment_kind"],
        precision=document["precision"],
        backend=document["backend"],
        input_hw=(size["height"], size["width"]),
        classes=document["classes"],
        accuracy=Accuracy(accuracy["value"], accuracy["metric"], accuracy["dataset"], accuracy["source"])
        if accuracy
        else None,
        weights=weights["source"],
        licence=weights["licence"],
        params=document["params"],
        onnx_bytes=document["onnx_bytes"],
        predicted_ms=document["predicted_ms"],
        class_names=tuple(document.get("class_names", ())),
        document=document,
    )


def _common(document: Document, source: Source) -> dict[str, Any]:
    """The fields of every Answer."""
    model, image = document["model"], document["image"]
    return {
        "id": document["id"],
        "model": Model(**{name: model[name] for name in Model.__slots__}),
        "image_hw": (image["height"], image["width"]),
        "routing": _routing(document["routing"]),
        "timing_ms": dict(document["timing_ms"]),
        "warnings": tuple(document["warnings"]),
        "cached": bool(document["cached"]),
        "document": document,
        "source": source,
    }


def _routing(document: Document) -> Routing:
    failed = tuple(document.get("failed", ()))
    return Routing(**{name: document[name] for name in Routing.__slots__ if name != "failed"}, failed=failed)


def _things(document: Document) -> tuple[Thing, ...]:
    return tuple(_thing(one) for one in document["predictions"])


def _thing(one: Document) -> Thing:
    box, score = one["box"], one["score"]
    xyxy = (float(box["xmin"]), float(box["ymin"]), float(box["xmax"]), float(box["ymax"]))
    return Thing(one["label"], one["class_id"], float("nan") if score is None else score, xyxy)


def _frozen(values: list[Any], dtype: type[np.generic]) -> np.ndarray[Any, Any]:
    array = np.array(values, dtype)
    array.flags.writeable = False
    return array
