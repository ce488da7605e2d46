"""BentoML: one worker a core (`workers="cpu_count"`), the picture as the body ("root input"), handed on as PIL's."""

from __future__ import annotations

import os
from typing import Any

import bentoml
from PIL.Image import Image

from benchmarks.peers.plain import Classifier


@bentoml.service(workers="cpu_count", traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class Predict:
    def __init__(self) -> None:
        self.classifier = Classifier(int(os.environ["BENCH_THREADS"]))

    @bentoml.api  # type: ignore[untyped-decorator]
    def predict(self, image: Image, /) -> dict[str, Any]:
        return {"predictions": self.classifier.of_image(image)}
