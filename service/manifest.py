"""What a repository entry means: a ModelCard, written to and read from Triton's own `config.pbtxt`.

    model_repository/<name>/config.pbtxt     the only description; Triton serves it over gRPC as it is
    model_repository/<name>/1/model.onnx     the artifact it describes, by sha256
    model_repository/<name>/2/model.plan     what TensorRT built of it; served if the config says so, docs/tensorrt.md

Triton's fields carry what Triton knows (tensors, batching). Its `parameters` carry the rest as flat, readable
strings, so that a gateway needs nothing but `GetModelConfig`, and a person nothing but `cat`.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from service.errors import InvalidEntry
from service.triton_config import Device, serve_on

Task = Literal["classify", "detect", "segment"]
Precision = Literal["fp32", "fp16", "int8"]
ResizeMode = Literal["crop", "squash", "letterbox"]
Interpolation = Literal["bilinear", "bicubic"]
# What a segmenter gives: a class for every pixel, a mask for every thing, or both in one map.
SegmentKind = Literal["semantic", "instance", "panoptic"]

INPUT_NAME = "image"
CONFIG_FILE = "config.pbtxt"
# The config that a plan took the place of: how to go back, and what an engine without TensorRT reads.
ONNX_CONFIG_FILE = "config.onnxruntime.pbtxt"
ONNX_FILE = "model.onnx"
PLAN_FILE = "model.plan"
VERSION = "1"

# Triton ignores a request's own timeout unless the default is larger (a default of 0 switches them off), so the
# default stands above the longest budget a client may ask for.
QUEUE_TIMEOUT_US = 60_000_000
# 0 would be unbounded.
QUEUE_LIMIT = 256


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


def write_entry(card: ModelCard, entry: Path, file: str = CONFIG_FILE) -> Path:
    """Writes the entry's config.pbtxt and returns its path; the ONNX file is the exporter's.

    One rename: whoever reads the file meanwhile gets the old text or the new one.
    """
    path = entry / file
    draft = path.with_name(f".{file}-{os.getpid()}")
    draft.write_text(config_text(card), encoding="utf-8")
    draft.replace(path)
    return path


def read_entry(entry: Path, file: str = CONFIG_FILE) -> ModelCard:
    """The card of a folder of the model repository. Raises InvalidEntry, naming the entry and what is wrong."""
    config = model_config_pb2.ModelConfig()
    try:
        text_format.Parse((entry / file).read_text(encoding="utf-8"), config)
    except (OSError, UnicodeDecodeError, text_format.ParseError) as err:
        raise InvalidEntry(f"{entry.name}: {file} cannot be read: {err}") from err
    if config.name != entry.name:
        raise InvalidEntry(f"{entry.name}: {file} says it is {config.name!r}")
    return card_from_config(config)


def read_onnx_entry(entry: Path) -> ModelCard:
    """The card of the entry as ONNX Runtime serves it, whether or not a plan has taken its place. As `read_entry`."""
    card = read_entry(entry)
    return card if card.plan is None else read_entry(entry, ONNX_CONFIG_FILE)


def onnx_path(entry: Path) -> Path:
    return entry / VERSION / ONNX_FILE


def plan_path(entry: Path, card: ModelCard) -> Path:
    return entry / card.version / PLAN_FILE


def file_sha256(path: Path) -> str:
    """Hex digest of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def config_text(card: ModelCard) -> str:
    """`config.pbtxt` as Triton and `read_entry` parse it."""
    return f"# {card.name}: written by vision-export, which is also how to change it.\n" + text_format.MessageToString(
        config_from_card(card), as_utf8=True
    )


def config_from_card(card: ModelCard) -> model_config_pb2.ModelConfig:
    """Triton's ModelConfig for the card."""
    config = model_config_pb2.ModelConfig(
        name=card.name,
        backend=card.backend,
        max_batch_size=card.max_batch_size,
        default_model_filename=ONNX_FILE if card.plan is None else PLAN_FILE,
    )
    # Triton's rule: with max_batch_size 0 the dims are the whole shape, else they leave the batch axis out.
    batch_axis = [] if card.max_batch_size > 0 else [1]
    config.input.add(name=card.input_name, data_type="TYPE_UINT8", dims=[*batch_axis, *card.resize.size_hw, 3])
    for spec in card.outputs:
        config.output.add(name=spec.name, data_type=f"TYPE_{spec.dtype}", dims=[*batch_axis, *spec.dims])
    if card.max_batch_size > 0:
        _batch_with_deadlines(config)
    profiled = card.profile.p50_ms_by_batch if card.profile else ()
    serve_on(config, card.device, card.version, tuple(batch for batch, _ in profiled))
    for key, value in _parameters(card).items():
        config.parameters[key].string_value = value
    return config


def _batch_with_deadlines(config: model_config_pb2.ModelConfig) -> None:
    batching = config.dynamic_batching
    batching.max_queue_delay_microseconds = 500
    batching.priority_levels = 3
    batching.default_priority_level = 2
    policy = batching.default_queue_policy
    policy.timeout_action = model_config_pb2.ModelQueuePolicy.REJECT
    policy.default_timeout_microseconds = QUEUE_TIMEOUT_US
    policy.allow_timeout_override = True
    policy.max_queue_size = QUEUE_LIMIT


def _parameters(card: ModelCard) -> dict[str, str]:
    """The flat, readable half of the card. Absent keys mean 'unknown', never a default."""
    resize = card.resize
    out = {
        "task": card.task,
        "family": card.family,
        "variant_of": card.variant_of,
        "precision": card.precision,
        "labels": card.label_set,
        "resize": resize.mode,
        "interpolation": resize.interpolation,
        "weights": card.weights.source,
        "weights_origin": card.weights.origin,
        "weights_licence": card.weights.licence,
        "weights_sha256": card.weights.sha256,
        "params": str(card.params),
        "flops": str(card.flops),
        "onnx_sha256": card.onnx_sha256,
        "onnx_bytes": str(card.onnx_bytes),
    }
    if resize.shorter_side_px is not None:
        out["resize_shorter_side_px"] = str(resize.shorter_side_px)
    if card.segment_kind is not None:
        out["segment_kind"] = card.segment_kind
    if card.label_names:
        out["label_names"] = "\n".join(card.label_names)
    if card.recipe:
        out["recipe"] = card.recipe
    if card.device != "auto":
        out["device"] = card.device
    if card.plan is not None:
        out |= {f"plan_{key}": value for key, value in asdict(card.plan).items()}
    if card.accuracy is not None:
        out |= {
            "accuracy": repr(card.accuracy.value),
            "accuracy_metric": card.accuracy.metric,
            "accuracy_dataset": card.accuracy.dataset,
            "accuracy_source": card.accuracy.source,
        }
    if card.profile is not None:
        out |= {
            "profile_device": card.profile.device,
            "profile_alpha_ms": repr(card.profile.alpha_ms),
            "profile_beta_ms": repr(card.profile.beta_ms),
            "profile_p50_ms": " ".join(f"{b}={ms!r}" for b, ms in card.profile.p50_ms_by_batch),
        }
    return out | {f"verified_{gate}": result for gate, result in card.verification}


def card_from_config(config: model_config_pb2.ModelConfig) -> ModelCard:
    """The card that a ModelConfig carries, from a file or over gRPC.

    Raises InvalidEntry if Triton serves a model that this project did not export, naming the missing key.
    """
    parameters = {key: value.string_value for key, value in config.parameters.items()}
    try:
        return ModelCard(
            name=config.name,
            variant_of=parameters["variant_of"],
            task=_one_of("task", parameters["task"], get_args(Task)),
            family=parameters["family"],
            precision=_one_of("precision", parameters["precision"], get_args(Precision)),
            backend=config.backend,
            max_batch_size=config.max_batch_size,
            resize=_resize_rule(config, parameters),
            outputs=tuple(
                TensorSpec(
                    spec.name,
                    model_config_pb2.DataType.Name(spec.data_type).removeprefix("TYPE_"),
                    _without_batch_axis(config, spec.name, spec.dims),
                )
                for spec in config.output
            ),
            label_set=parameters["labels"],
            label_names=tuple(parameters["label_names"].split("\n")) if parameters.get("label_names") else (),
            accuracy=_accuracy(parameters),
            weights=Weights(
                source=parameters["weights"],
                origin=parameters["weights_origin"],
                licence=parameters["weights_licence"],
                sha256=parameters["weights_sha256"],
            ),
            params=int(parameters["params"]),
            flops=int(parameters["flops"]),
            onnx_sha256=parameters["onnx_sha256"],
            onnx_bytes=int(parameters["onnx_bytes"]),
            verification=tuple(
                (key.removeprefix("verified_"), value)
                for key, value in sorted(parameters.items())
                if key.startswith("verified_")
            ),
            profile=_profile(parameters),
            input_name=config.input[0].name,
            recipe=parameters.get("recipe", ""),
            segment_kind=_one_of("segment_kind", parameters["segment_kind"], get_args(SegmentKind))
            if "segment_kind" in parameters
            else None,
            device=_one_of("device", parameters.get("device", "auto"), get_args(Device)),
            plan=_plan(parameters),
        )
    except KeyError as err:
        raise InvalidEntry(f"{config.name}: parameter {err} is missing from {CONFIG_FILE}") from err
    except (ValueError, IndexError) as err:
        raise InvalidEntry(f"{config.name}: {err}") from err


def _without_batch_axis(config: model_config_pb2.ModelConfig, tensor: str, dims: Sequence[int]) -> tuple[int, ...]:
    """The dims of one picture's tensor: with max_batch_size 0 they begin with the batch axis, which must be 1."""
    if config.max_batch_size > 0:
        return tuple(dims)
    if not dims or dims[0] != 1:
        raise ValueError(f"{tensor} is {list(dims)}; with max_batch_size 0 it must begin with a batch axis of 1")
    return tuple(dims[1:])


def _resize_rule(config: model_config_pb2.ModelConfig, parameters: dict[str, str]) -> ResizeRule:
    if len(config.input) != 1:
        raise ValueError(f"it must have one input, not {len(config.input)}")
    dims = _without_batch_axis(config, "input " + config.input[0].name, config.input[0].dims)
    if len(dims) != 3 or dims[2] != 3:
        raise ValueError(f"input {config.input[0].name} must be H×W×3, not {list(dims)}")
    height, width = dims[0], dims[1]
    shorter_side = parameters.get("resize_shorter_side_px")
    return ResizeRule(
        mode=_one_of("resize", parameters["resize"], get_args(ResizeMode)),
        size_hw=(height, width),
        interpolation=_one_of("interpolation", parameters["interpolation"], get_args(Interpolation)),
        shorter_side_px=int(shorter_side) if shorter_side else None,
    )


def _accuracy(parameters: dict[str, str]) -> Accuracy | None:
    if "accuracy" not in parameters:
        return None
    return Accuracy(
        value=float(parameters["accuracy"]),
        metric=parameters["accuracy_metric"],
        dataset=parameters["accuracy_dataset"],
        source=parameters["accuracy_source"],
    )


def _plan(parameters: dict[str, str]) -> TensorRtPlan | None:
    if "plan_sha256" not in parameters:
        return None
    return TensorRtPlan(**{field.name: parameters[f"plan_{field.name}"] for field in fields(TensorRtPlan)})


def _profile(parameters: dict[str, str]) -> Profile | None:
    if "profile_device" not in parameters:
        return None
    pairs = (pair.split("=") for pair in parameters["profile_p50_ms"].split())
    return Profile(
        device=parameters["profile_device"],
        alpha_ms=float(parameters["profile_alpha_ms"]),
        beta_ms=float(parameters["profile_beta_ms"]),
        p50_ms_by_batch=tuple((int(batch), float(p50_ms)) for batch, p50_ms in pairs),
    )


def _one_of(key: str, value: str, options: tuple[Any, ...]) -> Any:
    """`value`, if it is one of the options of a Literal type."""
    if value not in options:
        raise ValueError(f"{key} is {value!r}, must be one of {', '.join(options)}")
    return value
