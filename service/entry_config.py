"""A ModelCard as Triton's own `config.pbtxt`: written, read back from the entry's folder, or taken from Triton.

Triton's fields carry what Triton knows (tensors, batching). Its `parameters` carry the rest as flat, readable
strings, so that a gateway needs nothing but `GetModelConfig`, and a person nothing but `cat`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, get_args

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from service.entry_files import CONFIG_FILE, ONNX_CONFIG_FILE, ONNX_FILE, PLAN_FILE
from service.errors import InvalidEntry
from service.manifest import (
    Accuracy,
    Device,
    Interpolation,
    ModelCard,
    Precision,
    Profile,
    ResizeMode,
    ResizeRule,
    SegmentKind,
    Task,
    TensorRtPlan,
    TensorSpec,
    Weights,
)
from service.triton_config import batch_with_deadlines, serve_on


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
        batch_with_deadlines(config)
    profiled = card.profile.p50_ms_by_batch if card.profile else ()
    serve_on(config, card.device, card.version, tuple(batch for batch, _ in profiled))
    for key, value in _parameters(card).items():
        config.parameters[key].string_value = value
    return config


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
