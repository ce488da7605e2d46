"""What a repository entry means: a ModelCard, and what it is made of.

Where an entry's files lie is in service/entry_files.py, how its card is written down in service/entry_config.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Task = Literal["classify", "detect", "segment"]
Precision = Literal["fp32", "fp16", "int8"]
ResizeMode = Literal["crop", "squash", "letterbox"]
Interpolation = Literal["bilinear", "bicubic"]
# What a segmenter gives: a class for every pixel, a mask for every thing, or both in one map.
SegmentKind = Literal["semantic", "instance", "panoptic"]
# What Triton is to run the entry on, see service/triton_config.py.
Device = Literal["auto", "cpu", "gpu", "gpu-tensorrt"]

INPUT_NAME = "image"
# The folder of the ONNX file; a plan has a folder of its own.
VERSION = "1"


@dataclass(frozen=True, slots=True)
class ResizeRule:
    """How an upright picture becomes the model's H×W pixels.

    crop       the shorter side becomes `shorter_side_px`, then the centre H×W is cut out (torchvision, timm)
    squash     both sides are stretched to H×W
    letterbox  the longer side fits, the rest is padded evenly with grey 114
    """

    mode: ResizeMode
    size_hw: tuple[int, int]
    interpolation: Interpolation = "bilinear"
    shorter_side_px: int | None = None

    def __post_init__(self) -> None:
        if min(self.size_hw) < 1:
            raise ValueError(f"the input must have a fixed height and width, not {self.size_hw}")
        if (self.mode == "crop") != (self.shorter_side_px is not None):
            raise ValueError("shorter_side_px goes with mode crop, and only with it")
        if self.shorter_side_px is not None and self.shorter_side_px < max(self.size_hw):
            raise ValueError(f"a {self.size_hw} crop does not fit a shorter side of {self.shorter_side_px} px")


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One graph output: Triton dtype without `TYPE_` (FP32, INT32, UINT8) and its dims without the batch axis."""

    name: str
    dtype: str
    dims: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """A published or measured quality. `value` in percent whatever the metric: top-1, AP, mIoU.

    One scale, because the router's band of 0.3 points and a client's `min_accuracy` are in percent.
    """

    value: float
    metric: str
    dataset: str
    source: str

    def __post_init__(self) -> None:
        if not 0.0 <= self.value <= 100.0:
            raise ValueError(f"accuracy is {self.value}, must be percent")


@dataclass(frozen=True, slots=True)
class Weights:
    """Where the numbers come from. `source` is hub, package, file, starter or `untrained` (random numbers)."""

    source: str
    origin: str
    licence: str
    sha256: str

    @property
    def trained(self) -> bool:
        return self.source != "untrained"


@dataclass(frozen=True, slots=True)
class Profile:
    """Latency measured at export: milliseconds ≈ alpha_ms + beta_ms · batch on `device`."""

    device: str
    alpha_ms: float
    beta_ms: float
    p50_ms_by_batch: tuple[tuple[int, float], ...]

    def __post_init__(self) -> None:
        if not (0.0 <= self.alpha_ms < math.inf and 0.0 <= self.beta_ms < math.inf):
            raise ValueError(f"a profile of {self.alpha_ms} ms + {self.beta_ms} ms a picture cannot be")


@dataclass(frozen=True, slots=True)
class TensorRtPlan:
    """A TensorRT plan that is served in the ONNX file's place: its digest, and what it was built by and for.

    key      of the cache of plans: ONNX file, TensorRT, compute capability and batch range
    version  its folder: 2, or more where it took the place of another plan
    """

    sha256: str
    key: str
    tensorrt: str
    compute_capability: str
    version: str = "2"

    def __post_init__(self) -> None:
        if not self.version.isdecimal() or int(self.version) < 2:
            raise ValueError(f"a plan's version is 2 or more, not {self.version!r}")


@dataclass(frozen=True, slots=True)
class ModelCard:
    """Everything the gateway knows of one variant (model × precision × input size).

    max_batch_size  most pictures in one run; 0: the graph has no batch axis to grow, pictures go one by one
    outputs         without the batch axis, whatever max_batch_size says
    """

    name: str
    variant_of: str
    task: Task
    family: str
    precision: Precision
    backend: str
    max_batch_size: int
    resize: ResizeRule
    outputs: tuple[TensorSpec, ...]
    label_set: str
    label_names: tuple[str, ...]
    accuracy: Accuracy | None
    weights: Weights
    params: int
    flops: int
    onnx_sha256: str
    onnx_bytes: int
    verification: tuple[tuple[str, str], ...]
    profile: Profile | None
    input_name: str = INPUT_NAME
    # Digest of the row, weights and exporter that made the entry: how `vision-export` knows that it is up to date.
    recipe: str = ""
    segment_kind: SegmentKind | None = None
    device: Device = "auto"
    plan: TensorRtPlan | None = None

    def __post_init__(self) -> None:
        if self.plan is not None and self.backend != "tensorrt":
            raise ValueError(f"{self.name}: a plan goes with backend tensorrt")
        if (self.task == "segment") != (self.segment_kind is not None):
            raise ValueError(f"{self.name}: segment_kind goes with task segment, and only with it")
        if not self.weights.trained and self.accuracy is not None:
            raise ValueError(f"{self.name}: untrained weights carry no accuracy")
        if (self.label_set == "own") != bool(self.label_names):
            raise ValueError(f"{self.name}: label_names go with label_set 'own', and only with it")
        if any(not name or "\n" in name for name in self.label_names):
            raise ValueError(f"{self.name}: a label name is empty, or longer than a line")

    @property
    def version(self) -> str:
        """The version folder that is served."""
        return VERSION if self.plan is None else self.plan.version

    def output(self, name: str) -> TensorSpec | None:
        return next((spec for spec in self.outputs if spec.name == name), None)
