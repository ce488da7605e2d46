"""What travels over the wire, as OpenAPI shows it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.ask import Strategy, TierLabel
from service.cascade import Outcome
from service.manifest import Interpolation, Precision, ResizeMode, Task
from service.routing import Reason
from service.settings import Tier

Milliseconds = Annotated[float, Field(ge=0, description="Milliseconds.")]


class Wire(BaseModel):
    model_config = ConfigDict(frozen=True)


class RouteQuery(BaseModel):
    """What a request may say about speed and accuracy; unknown names are refused, not ignored."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    model: str | None = Field(None, description="Use this model, or any variant of it; the router then only admits.")
    latency_budget_ms: float | None = Field(
        None, gt=0, description="Answer within this time, counted from the arrival of the request's headers."
    )
    tier: Tier | None = Field(None, description="A budget by name; `standard` if neither is given.")
    min_accuracy: float | None = Field(
        None, ge=0, le=100, description="Never use a model below this accuracy (percent, as /v1/models lists it)."
    )
    on_infeasible: Literal["degrade", "reject"] = Field(
        "degrade", description="If no model surely makes it: try the fastest, or refuse at once with 503."
    )
    late: Literal["drop", "return"] = Field(
        "drop", description="An answer that misses the budget: 504, or handed over all the same."
    )
    priority: int = Field(2, ge=1, le=3, description="1 is served first, 3 is shed first.")


class ClassifyQuery(RouteQuery):
    strategy: Strategy = Field(
        "single",
        description="`cascade`: the cheapest model first; the better one only if the first is unsure and time allows.",
    )
    top_k: int = Field(5, ge=1, description="How many classes to return; at most as many as the model knows.")
    temperature: float = Field(
        1.0, gt=0, le=100, description="Re-scales probabilities: above 1 flatter, below sharper."
    )


class EmbedQuery(RouteQuery):
    normalise: bool = Field(False, description="Scale each embedding to length 1, for cosine similarity.")


class ModelRef(Wire):
    """Which model answered. `weights: untrained` means random numbers: the predictions mean nothing."""

    name: str
    version: str
    precision: Precision
    backend: str
    accuracy: float | None
    accuracy_metric: str | None
    weights: str


class ImageSize(Wire):
    """Of the upright picture, in pixels."""

    width: int
    height: int


class LabelScore(Wire):
    label: str
    class_id: int
    score: float = Field(description="Probability, 0..1.")


class Routing(Wire):
    """Why this model. `predicted_ms` is the time that 95 % of such requests were expected to stay below."""

    tier: TierLabel
    budget_ms: Milliseconds
    predicted_ms: Milliseconds
    quantile: float = 0.95
    reason: Reason
    degraded: bool = Field(description="The answer is not from the model that a calm machine would have used.")
    cascade: Outcome | None = Field(
        None, description="strategy=cascade only: the first model was sure, or was asked again, or time ran out."
    )
    hedged: bool = Field(False, description="The fastest model was fired as well, because the chosen one came late.")
    candidates: int = Field(description="How many models there were to choose from; POST /v1/route lists them.")


class Answer(Wire):
    id: str
    model: ModelRef
    image: ImageSize
    routing: Routing
    timing_ms: dict[str, float] = Field(
        description="read, decode, queue, infer, post, total; `queue` is all waiting for a processor."
    )
    warnings: list[str] = []


class ClassifyAnswer(Answer):
    task: Literal["classify"] = "classify"
    predictions: list[LabelScore] = Field(description="Most likely first.")


class EmbedAnswer(Answer):
    task: Literal["embed"] = "embed"
    embedding: list[float]


class ClassifyAnswers(Wire):
    """Several pictures in one request: one answer each, in their order."""

    id: str
    answers: list[ClassifyAnswer]


class EmbedAnswers(Wire):
    """Several pictures in one request: one answer each, in their order."""

    id: str
    answers: list[EmbedAnswer]


class Candidate(Wire):
    """One model the router looked at. `why_not` is null for those it could have chosen."""

    model: str
    accuracy: float | None
    predicted_ms: Milliseconds
    typical_ms: Milliseconds
    chosen: bool
    why_not: str | None


class RouteAnswer(Wire):
    id: str
    task: Task
    image: ImageSize | None
    routing: Routing | None = Field(description="null if the request would be refused; `refused` then says why.")
    model: str | None
    refused: str | None
    candidates: list[Candidate]


class AccuracyInfo(Wire):
    value: float
    metric: str
    dataset: str
    source: str


class WeightsInfo(Wire):
    source: str
    origin: str
    licence: str
    sha256: str


class ProfileInfo(Wire):
    """Measured at export: milliseconds ≈ alpha_ms + beta_ms · batch."""

    device: str
    alpha_ms: float
    beta_ms: float
    p50_ms_by_batch: dict[int, float]


class InputInfo(Wire):
    height: int
    width: int
    resize: ResizeMode
    shorter_side_px: int | None
    interpolation: Interpolation


class ModelInfo(Wire):
    """A repository entry, as its config.pbtxt says."""

    name: str
    version: str
    variant_of: str
    task: Task
    family: str
    precision: Precision
    backend: str
    max_batch_size: int
    labels: str
    classes: int
    input: InputInfo
    outputs: list[str]
    accuracy: AccuracyInfo | None
    weights: WeightsInfo
    params: int
    flops: int
    onnx_sha256: str
    onnx_bytes: int
    verification: dict[str, str]
    profile: ProfileInfo | None
    predicted_ms: float | None = Field(description="Typical time of one run of one picture here and now.")


class ModelList(Wire):
    engine: str
    providers: list[str] = Field(description="What the models run on, best first.")
    ready: bool
    models: list[ModelInfo]


class Health(Wire):
    status: Literal["live", "ready"]


class Problem(BaseModel):
    """RFC 9457. `type` ends in a stable code; `field` and `limit` name what to change."""

    type: str
    title: str
    status: int
    detail: str
    instance: str = Field(description="The request's id, as in X-Request-Id.")
    field: str | None = None
    limit: str | None = None
    retry_after_s: float | None = None
