"""What the pipeline served → the documents that travel back."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from service.ask import Ask
from service.decision import Looked, demand_of, refusal_error
from service.execution import Inferred
from service.findings import Segments
from service.fleet import Fleet
from service.image_header import ImageHeader
from service.label_sets import label_names
from service.latency import Predictor
from service.manifest import ModelCard
from service.pipeline import Served
from service.routing import Choice, Refusal, usable_ms
from service.schemas import (
    AccuracyInfo,
    Candidate,
    ClassifyAnswer,
    DetectAnswer,
    EmbedAnswer,
    ImageSize,
    InputInfo,
    LabelScore,
    ModelDetail,
    ModelInfo,
    ModelRef,
    ProfileInfo,
    RouteAnswer,
    Routing,
    SegmentAnswer,
    WeightsInfo,
)
from service.tasks.classify import most_likely

UNTRAINED = "this model has random weights: its predictions mean nothing"


def classify_answers(
    served: Served, ask: Ask, identity: str, *, top_k: int, temperature: float, read_ms: float
) -> list[ClassifyAnswer]:
    """One answer a picture, in order."""
    names = label_names(served.card)
    predictions = [
        most_likely(_floats(picture, "probabilities"), names, top_k=top_k, temperature=temperature)
        for picture in served.pictures
    ]
    return [
        ClassifyAnswer(
            predictions=[LabelScore(label=p.label, class_id=p.class_id, score=p.score) for p in found],
            **_common(served, picture, ask, identity, read_ms),
        )
        for picture, found in zip(served.pictures, predictions, strict=True)
    ]


def _floats(picture: Inferred, name: str) -> NDArray[np.floating]:
    return cast("NDArray[np.floating]", picture.arrays[name])


def embed_answers(served: Served, ask: Ask, identity: str, *, normalise: bool, read_ms: float) -> list[EmbedAnswer]:
    """One answer a picture, in order."""
    answers = []
    for picture in served.pictures:
        embedding = picture.arrays["embedding"].astype(np.float64)  # (D,)
        if normalise:
            embedding = embedding / max(float(np.linalg.norm(embedding)), 1e-12)
        answers.append(
            EmbedAnswer(embedding=embedding.tolist(), **_common(served, picture, ask, identity, read_ms)),
        )
    return answers


def detect_answers(served: Served, ask: Ask, identity: str, read_ms: float) -> list[DetectAnswer]:
    """One answer a picture, in order; of a picture that was drawn on, without predictions."""
    return [
        DetectAnswer(
            predictions=picture.result if isinstance(picture.result, list) else [],
            **_common(served, picture, ask, identity, read_ms),
        )
        for picture in served.pictures
    ]


def segment_answers(served: Served, ask: Ask, identity: str, read_ms: float) -> list[SegmentAnswer]:
    """One answer a picture, in order; of a picture that was drawn on, without predictions."""
    answers = []
    for picture in served.pictures:
        found = picture.result if isinstance(picture.result, Segments) else Segments([])
        answers.append(
            SegmentAnswer(
                kind=ask.kind or "semantic",
                predictions=found.predictions,
                class_map=found.class_map,
                segment_map=found.segment_map,
                **_common(served, picture, ask, identity, read_ms),
            )
        )
    return answers


def _common(served: Served, picture: Inferred, ask: Ask, identity: str, read_ms: float) -> dict[str, Any]:
    """The fields of every `Answer`."""
    return {
        "id": identity,
        "model": model_ref(served.card),
        "image": image_size(picture),
        "routing": routing(served, ask),
        "timing_ms": timing_ms(picture, ask, read_ms),
        "cached": picture.cached,
        "warnings": warnings(served.card),
    }


def model_ref(card: ModelCard) -> ModelRef:
    return ModelRef(
        name=card.name,
        version=card.version,
        precision=card.precision,
        backend=card.backend,
        accuracy=card.accuracy.value if card.accuracy else None,
        accuracy_metric=card.accuracy.metric if card.accuracy else None,
        weights=card.weights.source,
    )


def image_size(picture: Inferred) -> ImageSize:
    height, width = picture.geometry.image_hw
    return ImageSize(width=width, height=height)


def routing(served: Served, ask: Ask) -> Routing:
    decision = served.decision
    return Routing(
        tier=ask.tier,
        budget_ms=ask.budget_ms,
        predicted_ms=round(decision.p95_ms, 3),
        reason=decision.choice.reason,
        degraded=served.degraded,
        hedged=served.hedged,
        cascade=served.cascade,
        failed=list(served.failed),
        candidates=len(decision.variants.cards),
    )


def timing_ms(picture: Inferred, ask: Ask, read_ms: float) -> dict[str, float]:
    """Milliseconds of each step; `post` is what remains between the model's end and now."""
    total_ms = ask.spent_ms()
    known = {"read": read_ms, **picture.timing_ms}
    post_ms = max(0.0, total_ms - sum(known.values()))
    return {name: round(ms, 3) for name, ms in (known | {"post": post_ms, "total": total_ms}).items()}


def warnings(card: ModelCard) -> list[str]:
    return [] if card.weights.trained else [UNTRAINED]


def route_answer(
    identity: str,
    ask: Ask,
    header: ImageHeader | None,
    looked: Looked,
    fleet: Fleet,
) -> RouteAnswer:
    """The choice alone, with every candidate and why not."""
    variants, estimates, choice = looked
    chosen = choice.index if isinstance(choice, Choice) else None
    usable = usable_ms(estimates, demand_of(ask))
    return RouteAnswer(
        id=identity,
        task=ask.task,
        image=ImageSize(width=header.width, height=header.height) if header else None,
        model=variants.names[chosen] if chosen is not None else None,
        routing=Routing(
            tier=ask.tier,
            budget_ms=ask.budget_ms,
            predicted_ms=round(float(estimates.p95_ms[choice.index]), 3),
            reason=choice.reason,
            degraded=choice.degraded,
            candidates=len(variants.cards),
        )
        if isinstance(choice, Choice)
        else None,
        refused=refusal_error(choice, ask).detail if isinstance(choice, Refusal) else None,
        candidates=[
            Candidate(
                model=card.name,
                accuracy=card.accuracy.value if card.accuracy else None,
                predicted_ms=round(float(estimates.p95_ms[i]), 3),
                typical_ms=round(float(estimates.p50_ms[i]), 3),
                chosen=i == chosen,
                why_not=None if i == chosen else _why_not(card, float(estimates.p95_ms[i]), usable, ask, chosen, fleet),
            )
            for i, card in enumerate(variants.cards)
        ],
    )


def _why_not(
    card: ModelCard, p95_ms: float, usable_ms: float, ask: Ask, chosen: int | None, fleet: Fleet
) -> str | None:
    if fleet.circuit(card) == "open":
        return "it failed several times in a row, and is tried again in a while"
    if ask.min_accuracy is not None and (card.accuracy is None or card.accuracy.value < ask.min_accuracy):
        return f"below min_accuracy {ask.min_accuracy:g}"
    if p95_ms > usable_ms:
        return f"predicted {p95_ms:.1f} ms, usable {usable_ms:.1f} ms of the {ask.budget_ms:g} ms budget"
    return "another one is more accurate, or as accurate and cheaper" if chosen is not None else None


def model_detail(card: ModelCard, predictor: Predictor, fleet: Fleet) -> ModelDetail:
    """The card as /v1/models/NAME shows it."""
    return ModelDetail(**model_info(card, predictor, fleet).model_dump(), class_names=list(label_names(card)))


def model_info(card: ModelCard, predictor: Predictor, fleet: Fleet) -> ModelInfo:
    """The card as /v1/models shows it, with its state and what one run would take now."""
    accuracy, weights, profile = card.accuracy, card.weights, card.profile
    return ModelInfo(
        name=card.name,
        version=card.version,
        state=fleet.state(card.name),
        circuit=fleet.circuit(card),
        variant_of=card.variant_of,
        task=card.task,
        segment_kind=card.segment_kind,
        family=card.family,
        precision=card.precision,
        backend=card.backend,
        max_batch_size=card.max_batch_size,
        labels=card.label_set,
        classes=len(label_names(card)),
        input=InputInfo(
            height=card.resize.size_hw[0],
            width=card.resize.size_hw[1],
            resize=card.resize.mode,
            shorter_side_px=card.resize.shorter_side_px,
            interpolation=card.resize.interpolation,
        ),
        outputs=[spec.name for spec in card.outputs],
        accuracy=AccuracyInfo(
            value=accuracy.value, metric=accuracy.metric, dataset=accuracy.dataset, source=accuracy.source
        )
        if accuracy
        else None,
        weights=WeightsInfo(
            source=weights.source, origin=weights.origin, licence=weights.licence, sha256=weights.sha256
        ),
        params=card.params,
        flops=card.flops,
        onnx_sha256=card.onnx_sha256,
        onnx_bytes=card.onnx_bytes,
        verification=dict(card.verification),
        profile=ProfileInfo(
            device=profile.device,
            alpha_ms=profile.alpha_ms,
            beta_ms=profile.beta_ms,
            p50_ms_by_batch=dict(profile.p50_ms_by_batch),
        )
        if profile
        else None,
        predicted_ms=round(predictor.run_ms(card, 1), 3) if profile else None,
    )
