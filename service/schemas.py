"""What travels over the wire, as OpenAPI shows it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.ask import Strategy, TierLabel
from service.cascade import Outcome
from service.circuits import Circuit
from service.inventory import State
from service.manifest import Interpolation, Precision, ResizeMode, SegmentKind, Task
from service.routing import Reason
from service.settings import Tier

Milliseconds = Annotated[float, Field(ge=0, description="Milliseconds.")]
MaskFormat = Literal["rle", "polygon", "png"]


class Wire(BaseModel):
    model_config = ConfigDict(frozen=True)


class RouteQuery(BaseModel):
    """What a request may say about speed and accuracy; unknown names are refused, not ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str | None = Field(None, description="Use this model, or any variant of it; the router then only admits.")
    latency_budget_ms: float | None = Field(
        None, gt=0, description="Answer within this time, counted from the arrival of the request's headers."
    )
    tier: Tier | None = Field(None, description="A budget by name; `standard` if neither budget nor model is given.")
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


class FindQuery(RouteQuery):
    """What detect and segment have in common."""

    score_threshold: float = Field(0.4, ge=0, le=1, description="Leave out things that are less sure than this.")
    max_detections: int = Field(100, ge=1, le=1000, description="Return at most this many things, the surest.")
    classes: str | None = Field(
        None, min_length=1, max_length=4000, description="Only these classes, as names with commas: `person,dog`."
    )
    overlay: bool = Field(
        False,
        description="Answer with the picture itself, the result drawn on it: JPEG, or PNG if `Accept` asks for that.",
    )


class DetectQuery(FindQuery):
    pass


class SegmentQuery(FindQuery):
    kind: SegmentKind | None = Field(
        None,
        description="A class for every pixel, a mask for every thing, or both. Left out: what the model named gives, "
        "else `semantic`.",
    )
    mask_format: MaskFormat = Field(
        "rle",
        description="How masks travel. `png` with `Accept: image/png` brings the map itself instead of JSON.",
    )


class RouteTaskQuery(RouteQuery):
    task: Task = Field("classify", description="What the model should do.")
    kind: SegmentKind | None = Field(
        None, description="With `task=segment`: which kind. Left out: what the model named gives, else `semantic`."
    )


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


class Box(Wire):
    """In pixels of the upright picture, from the outer edge of its first pixel: 0 ≤ xmin < xmax ≤ width."""

    xmin: float
    ymin: float
    xmax: float
    ymax: float


class LabelBox(Wire):
    label: str
    class_id: int
    score: float = Field(description="0..1; how sure the model is.")
    box: Box


class Rle(Wire):
    """COCO's compressed run lengths, as pycocotools decodes them: `pycocotools.mask.decode(rle)`."""

    size: tuple[int, int] = Field(description="Height and width of the picture.")
    counts: str


class Segment(Wire):
    """A thing with its mask, or all pixels of a class. One of `rle`, `polygons` and `png` is there, as asked for.

    Where the answer has a map as PNG, `map_value` takes their place: the segment is the map's pixels of that value.
    """

    label: str
    class_id: int
    score: float | None = Field(None, description="0..1; null where the model gives none for a segment.")
    box: Box = Field(description="The detector's box of a thing; else the smallest one around the pixels.")
    area_px: int
    rle: Rle | None = None
    polygons: list[list[float]] | None = Field(
        None, description="Rings [x1, y1, x2, y2, …] within 1 px of the outline; holes are rings too: fill even-odd."
    )
    png: str | None = Field(None, description="Base64 of a black and white PNG of the picture's size.")
    map_value: int | None = None


class Routing(Wire):
    """Why this model. `predicted_ms` is the time that 95 % of such requests were expected to stay below."""

    tier: TierLabel
    budget_ms: Milliseconds
    predicted_ms: Milliseconds
    quantile: float = 0.95
    reason: Reason
    degraded: bool = Field(
        description="None was sure to be in time, and the fastest was tried; or the one chosen was late or failed, "
        "and another one answered."
    )
    cascade: Outcome | None = Field(
        None, description="strategy=cascade only: the first model was sure, or was asked again, or time ran out."
    )
    hedged: bool = Field(False, description="The fastest model was fired as well, because the chosen one came late.")
    failed: list[str] = Field(
        [], description="Models that were chosen for this request first, and failed; the answer is another one's."
    )
    candidates: int = Field(description="How many models there were to choose from; POST /v1/route lists them.")


class Answer(Wire):
    id: str
    model: ModelRef
    image: ImageSize
    routing: Routing
    timing_ms: dict[str, float] = Field(
        description="read, decode, queue, infer, post, total; `queue` is all waiting for a processor."
    )
    cached: bool = Field(False, description="The model had seen these very bytes: nothing was decoded or run.")
    warnings: list[str] = []


class ClassifyAnswer(Answer):
    task: Literal["classify"] = "classify"
    predictions: list[LabelScore] = Field(description="Most likely first.")


class EmbedAnswer(Answer):
    task: Literal["embed"] = "embed"
    embedding: list[float]


class DetectAnswer(Answer):
    task: Literal["detect"] = "detect"
    predictions: list[LabelBox] = Field(description="Surest first; empty if nothing was found.")


class SegmentAnswer(Answer):
    task: Literal["segment"] = "segment"
    kind: SegmentKind
    predictions: list[Segment] = Field(
        description="Things, surest first; or the classes that occur, largest first. Empty if nothing was found."
    )
    class_map: str | None = Field(
        None,
        description="mask_format=png, semantic and panoptic: base64 of a palette PNG of the picture's size whose pixel "
        "values are class ids; 255 is what the model did not see.",
    )
    segment_map: str | None = Field(
        None, description="mask_format=png, panoptic: the same with a number for every segment; 0 is none."
    )


class DetectAnswers(Wire):
    """Several pictures in one request: one answer each, in their order."""

    id: str
    answers: list[DetectAnswer]


class SegmentAnswers(Wire):
    """Several pictures in one request: one answer each, in their order."""

    id: str
    answers: list[SegmentAnswer]


class ClassifyAnswers(Wire):
    """Several pictures in one request: one answer each, in their order."""

    id: str
    answers: list[ClassifyAnswer]


class EmbedAnswers(Wire):
    """Several pictures in one request: one answer each, in their order."""

    id: str
    answers: list[EmbedAnswer]


class Candidate(Wire):
    """One model the router looked at. `why_not` is null for the chosen one, and where nothing is against it."""

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
    """A repository entry: what its config.pbtxt says, and how it is here and now."""

    name: str
    version: str
    state: State = Field(
        description="`loaded`: answers at once. `cold`: is loaded when asked for. `loading`, `unloading`: on the way. "
        "`withdrawn`: an operator unloaded it. `refused`: cannot be served."
    )
    circuit: Circuit = Field(
        "closed",
        description="`open`: it failed several times in a row, and the router takes others for a while. "
        "`half-open`: it tries one request with it.",
    )
    variant_of: str
    task: Task
    segment_kind: SegmentKind | None
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


class ModelDetail(ModelInfo):
    """The same, with the names of the classes."""

    class_names: list[str] = Field(description="Index = class_id; what `classes=` takes.")


class ModelState(Wire):
    """What became of a model that an operator loaded or unloaded."""

    name: str
    state: State


class ModelList(Wire):
    engine: str
    providers: list[str] = Field(description="What the models run on, best first.")
    ready: bool
    tiers_ms: dict[Tier, float] = Field(description="The budget of every tier, as the operator set it.")
    max_budget_ms: Milliseconds
    models: list[ModelInfo]


class Health(Wire):
    status: Literal["live", "ready"]


class Readiness(Health):
    failing: list[str] = Field([], description="Models whose circuit is not closed: they failed time after time.")


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
