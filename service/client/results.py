"""What a call comes back with. Frozen; arrays are read-only; `document` is the gateway's own JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.client.options import Kind, Task
from service.client.pictures import Source
from service.drawing import colour_of, draw_legend

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Model:
    """Which model answered. `weights` "untrained" means random numbers: what it says means nothing."""

    name: str
    version: str
    precision: str
    backend: str
    accuracy: float | None
    accuracy_metric: str | None
    weights: str


@dataclass(frozen=True, slots=True)
class Routing:
    """Why this model. `predicted_ms` is the time that 95 % of such requests were expected to stay below.

    tier     a name, `custom` for a budget in milliseconds, `none` for a model that was named without one
    reason   as docs/api.md lists them
    failed   models that were chosen first, and failed
    """

    tier: str
    budget_ms: float
    predicted_ms: float
    reason: str
    degraded: bool
    hedged: bool
    cascade: str | None
    candidates: int
    failed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Answer:
    """What all answers have.

    image_hw    height and width of the upright picture
    timing_ms   milliseconds of each step in the gateway; `total` is all of them
    """

    id: str
    model: Model
    image_hw: tuple[int, int]
    routing: Routing
    timing_ms: Mapping[str, float]
    warnings: tuple[str, ...]
    cached: bool
    document: Mapping[str, Any] = field(repr=False)
    source: Source = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Classification(Answer):
    """The K most likely classes, most likely first: labels, class_ids (K,) int64, scores (K,) float32 in 0..1."""

    labels: tuple[str, ...]
    class_ids: Ids
    scores: Floats

    @property
    def label(self) -> str:
        """The most likely class."""
        return self.labels[0]

    @property
    def score(self) -> float:
        """Its probability, 0..1."""
        return float(self.scores[0])

    def overlay(self) -> Image.Image:
        """The upright picture in RGB, the classes and their probabilities written on it."""
        lines = zip(self.labels, self.class_ids, self.scores, strict=True)
        return draw_legend(
            self.source.image(), [(f"{label} {score:.2f}", colour_of(int(i))) for label, i, score in lines]
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Embedding(Answer):
    """The picture as a vector (D,) float32. Compare only vectors of one model."""

    vector: Floats


@dataclass(frozen=True, slots=True)
class Candidate:
    """One model the router looked at. `why_not` is None for the chosen one, and where nothing is against it."""

    model: str
    accuracy: float | None
    predicted_ms: float
    typical_ms: float
    chosen: bool
    why_not: str | None


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """Which model would answer now. `model` and `routing` are None if the request would be `refused`."""

    id: str
    task: Task
    image_hw: tuple[int, int] | None
    model: str | None
    routing: Routing | None
    refused: str | None
    candidates: tuple[Candidate, ...]
    document: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Accuracy:
    """In percent, with its metric, the data set it was measured on, and who says so."""

    value: float
    metric: str
    dataset: str
    source: str


@dataclass(frozen=True, slots=True, eq=False)
class ModelInfo:
    """A model of the repository. `document` has all that the gateway says of it: provenance, gates, profile.

    weights         where they come from: package, hub, starter, file; `untrained` is random
    predicted_ms    typical time of one run of one picture here and now
    class_names     index = class_id; only of `model(name)`, empty in `models()`
    """

    name: str
    variant_of: str
    task: Task
    segment_kind: Kind | None
    precision: str
    backend: str
    input_hw: tuple[int, int]
    classes: int
    accuracy: Accuracy | None
    weights: str
    licence: str
    params: int
    onnx_bytes: int
    predicted_ms: float | None
    class_names: tuple[str, ...]
    document: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Readiness:
    """True if the gateway would answer a request; else `detail` says why not."""

    ready: bool
    detail: str

    def __bool__(self) -> bool:
        return self.ready
