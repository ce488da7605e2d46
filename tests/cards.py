"""Model cards for tests: small classifiers that a FakeEngine answers for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from service.graph_contract import contract_outputs
from service.manifest import Accuracy, ModelCard, Profile, ResizeRule, SegmentKind, TensorSpec, Weights


def classifier(
    name: str = "fake_large", *, accuracy: float | None = 76.0, run_ms: float = 2.0, **changes: Any
) -> ModelCard:
    """A classifier of ImageNet-1k at 32×32 pixels; without accuracy it is untrained."""
    card = ModelCard(
        name=name,
        variant_of=name,
        task="classify",
        family="Fake",
        precision="fp32",
        backend="onnxruntime",
        max_batch_size=8,
        resize=ResizeRule("crop", (32, 32), "bilinear", 36),
        outputs=(TensorSpec("probabilities", "FP32", (1000,)), TensorSpec("embedding", "FP32", (16,))),
        label_set="imagenet-1k",
        label_names=(),
        accuracy=None if accuracy is None else Accuracy(accuracy, "top-1", "imagenet-1k", "tests/cards.py"),
        weights=Weights("untrained" if accuracy is None else "file", "tests/cards.py", "Apache-2.0", "0" * 64),
        params=1_000_000,
        flops=1_000_000,
        onnx_sha256="0" * 64,
        onnx_bytes=1,
        verification=(),
        profile=Profile("nowhere", run_ms / 2, run_ms / 2, ((1, run_ms),)),
    )
    return replace(card, **changes)


LABELS = ("red", "green", "blue")


def detector(
    name: str = "fake_detector", *, accuracy: float | None = 60.0, run_ms: float = 2.0, **changes: Any
) -> ModelCard:
    """A detector of red, green and blue things (service/engines/fake_vision.py) at 64×64 pixels, letterboxed."""
    card = replace(
        classifier(name, accuracy=accuracy, run_ms=run_ms),
        task="detect",
        resize=ResizeRule("letterbox", (64, 64)),
        outputs=_THINGS,
        label_set="own",
        label_names=LABELS,
        accuracy=None if accuracy is None else Accuracy(accuracy, "AP50", "colours", "tests/cards.py"),
    )
    return replace(card, **changes)


def segmenter(name: str, kind: SegmentKind, *, accuracy: float | None = 60.0, **changes: Any) -> ModelCard:
    """A segmenter of the same things: masks of 8×8 cells, or maps in which 0 is the rest."""
    maps = tuple(TensorSpec(output, "UINT8", (64, 64)) for output in contract_outputs("segment", kind))
    of_kind = {
        "task": "segment",
        "segment_kind": kind,
        "outputs": (*_THINGS, TensorSpec("masks", "FP32", (5, 8, 8))) if kind == "instance" else maps,
        "label_names": LABELS if kind == "instance" else ("rest", *LABELS),
    }
    return detector(name, accuracy=accuracy, **(of_kind | changes))


_THINGS = (
    TensorSpec("boxes", "FP32", (5, 4)),
    TensorSpec("scores", "FP32", (5,)),
    TensorSpec("classes", "INT32", (5,)),
)
