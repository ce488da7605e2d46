"""A user's own ONNX file → an entry, through the same gates as far as they apply.

    image uint8 (N, H, W, 3) ─▶ normalise ─▶ [ the file: x (N, 3, H, W) → logits (N, C) ] ─▶ softmax ─▶ probabilities

There is no torch module to compare with. The yardstick is the file itself, run without any of ONNX Runtime's
optimisations on pictures that torchvision cut and numpy normalised in float64. So the gates prove that the wrapping is
right and that optimisation harms nothing; that the mean, the size and the labels are the right ones, nobody can prove.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, compose, helper, numpy_helper

from export.catalogue.row import Rgb
from export.errors import GraphError
from export.photographs import seven_pixels
from export.profile import profile
from export.reference import Arrays, Reference, normalised
from export.repository import publish, staging
from export.upstream import Upstream, cut_by
from export.verify import verify
from service.entry_config import write_entry
from service.entry_files import file_sha256, onnx_path
from service.manifest import INPUT_NAME, ModelCard, ResizeRule, TensorSpec, Weights

# Softmax means what it says from opset 13 on.
OLDEST_OPSET = 13
PREFIX = "own/"
OUTPUT = "probabilities"


@dataclass(frozen=True, slots=True)
class Import:
    """What the user says of the file. `gives_probabilities`: its output has gone through softmax already."""

    file: Path
    name: str
    labels: tuple[str, ...]
    resize: ResizeRule
    mean: Rgb
    std: Rgb
    gives_probabilities: bool


def import_onnx(wanted: Import, repository: Path) -> ModelCard:
    """The card of the entry that is now in the repository. Raises ExportError; the repository is then as it was."""
    model = _read(wanted.file)
    source = Upstream(wanted.resize, wanted.mean, wanted.std, cut_by(wanted.resize))
    reference = _reference(wanted, seven_pixels(source))
    outputs = (TensorSpec(OUTPUT, "FP32", (len(wanted.labels),)),)
    with staging(repository, wanted.name) as folder:
        onnx.save(_wrapped(model, wanted), onnx_path(folder))
        verification = verify(onnx_path(folder), outputs, reference)
        measured = profile(onnx_path(folder), reference.pixels)
        card = ModelCard(
            name=wanted.name,
            variant_of=wanted.name,
            task="classify",
            family="imported",
            precision="fp32",
            backend="onnxruntime",
            max_batch_size=32,
            resize=wanted.resize,
            outputs=outputs,
            label_set="own",
            label_names=wanted.labels,
            accuracy=None,
            weights=Weights("file", wanted.file.name, "not stated", file_sha256(wanted.file)),
            params=sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer),
            flops=0,  # not counted: there is no torch module to count in
            onnx_sha256=file_sha256(onnx_path(folder)),
            onnx_bytes=onnx_path(folder).stat().st_size,
            verification=verification,
            profile=measured,
        )
        write_entry(card, folder)
        publish(folder, repository, wanted.name)
    return card


def _read(file: Path) -> onnx.ModelProto:
    """The checked model. Raises GraphError for one that does not take one float picture and give one float row."""
    try:
        model = onnx.load(file)
        onnx.checker.check_model(model)
    except Exception as err:  # protobuf, the checker and the file system each have exceptions of their own
        raise GraphError(f"{file.name} is no valid ONNX file: {' '.join(str(err).split())[:200]}") from err
    known = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in known]
    if len(inputs) != 1 or len(model.graph.output) != 1:
        raise GraphError(
            f"{file.name} has {len(inputs)} inputs and {len(model.graph.output)} outputs, not one of each."
        )
    for value, rank in ((inputs[0], 4), (model.graph.output[0], 2)):
        kind = value.type.tensor_type
        if kind.elem_type != TensorProto.FLOAT or len(kind.shape.dim) != rank:
            raise GraphError(f"{value.name} of {file.name} is not float32 with {rank} axes.")
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if opset < OLDEST_OPSET:
        raise GraphError(f"{file.name} has opset {opset}; convert it to {OLDEST_OPSET} or later.")
    return model


def _wrapped(model: onnx.ModelProto, wanted: Import) -> onnx.ModelProto:
    """The file's graph between our normalisation and our softmax, under the graph contract."""
    # Its names get a prefix, so that they cannot meet ours.
    out: onnx.ModelProto = compose.add_prefix(model, PREFIX)
    graph = out.graph
    known = {tensor.name for tensor in graph.initializer}
    (given,) = (value for value in graph.input if value.name not in known)
    logits = graph.output[0].name
    scale, shift = _scale_and_shift(wanted)
    before = [
        helper.make_node("Transpose", [INPUT_NAME], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["numbers", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "shift"], [given.name]),
    ]
    after = helper.make_node("Softmax", [logits], [OUTPUT], axis=-1)
    if wanted.gives_probabilities:
        after = helper.make_node("Identity", [logits], [OUTPUT])
    nodes = [*before, *graph.node, after]
    del graph.node[:], graph.output[:]
    graph.node.extend(nodes)
    graph.input.remove(given)
    graph.initializer.extend([numpy_helper.from_array(scale, "scale"), numpy_helper.from_array(shift, "shift")])
    batch = given.type.tensor_type.shape.dim[0]
    free = batch.dim_param or batch.dim_value or "batch"
    picture = [free, *wanted.resize.size_hw, 3]
    graph.input.append(helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, picture))
    graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [free, len(wanted.labels)]))
    return out


def _scale_and_shift(wanted: Import) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(x / 255 - mean) / std as one multiplication and one addition: two (1, 3, 1, 1)."""
    mean, std = np.array(wanted.mean), np.array(wanted.std)
    scale = (1 / (255 * std)).astype(np.float32).reshape(1, 3, 1, 1)
    shift = (-mean / std).astype(np.float32).reshape(1, 3, 1, 1)
    return scale, shift


def _reference(wanted: Import, pixels: NDArray[np.uint8]) -> Reference:
    """The file itself: unoptimised on exact input for the truth, optimised on float32's input for the rounding."""
    exact = normalised(pixels, wanted.mean, wanted.std).numpy().astype(np.float32)  # (7, 3, H, W)
    scale, shift = _scale_and_shift(wanted)
    rounded = pixels.transpose(0, 3, 1, 2).astype(np.float32) * scale + shift
    level = ort.GraphOptimizationLevel
    truth = _run(wanted, exact, level.ORT_DISABLE_ALL)
    return Reference(pixels, truth, _run(wanted, rounded, level.ORT_ENABLE_ALL))


def _run(wanted: Import, x: NDArray[np.float32], level: ort.GraphOptimizationLevel) -> Arrays:
    """The file's probabilities, one picture at a time. Raises GraphError if it cannot be run or counts otherwise."""
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    try:
        session = ort.InferenceSession(wanted.file, options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        rows = np.concatenate([session.run(None, {name: one[None]})[0] for one in x]).astype(np.float64)  # (7, C)
    except Exception as err:  # ONNX Runtime's exceptions share no class of their own
        raise GraphError(f"{wanted.file.name} does not run: {' '.join(str(err).split())[:200]}") from err
    if rows.shape[1] != len(wanted.labels):
        raise GraphError(f"{wanted.file.name} gives {rows.shape[1]} classes, the label file has {len(wanted.labels)}.")
    looks_done = bool((rows >= 0).all() and np.allclose(rows.sum(axis=1), 1, atol=1e-3))
    if looks_done != wanted.gives_probabilities:
        said = "adds up to 1: say `--output probabilities`" if looks_done else "does not add up to 1: `--output logits`"
        raise GraphError(f"the output of {wanted.file.name} {said}.")
    if not looks_done:
        powers = np.exp(rows - rows.max(axis=1, keepdims=True))
        rows = powers / powers.sum(axis=1, keepdims=True)
    return {OUTPUT: rows}
