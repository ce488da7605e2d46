"""Model cards for tests: small classifiers that a FakeEngine answers for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from service.manifest import Accuracy, ModelCard, Profile, ResizeRule, TensorSpec, Weights


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
