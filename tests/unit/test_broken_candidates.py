"""A detector and a panoptic segmenter, broken in every way that an export can break one: no gate lets any through.

Each is judged twice: by all the gates, and by those on the answers alone, since what breaks after the taps is seen by
nothing else. Those allow a small share of rounding's mismatches; here is what they still may not allow.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnxruntime as ort
import pytest
from onnx import numpy_helper

from export.errors import GateFailure
from export.reference import Reference
from export.verify import Refused, gather
from export.verify_located import DECLARED_GATES, answer_gates, verify_located
from service.manifest import TensorSpec
from tests.small_detector import (
    MAP_SPECS,
    MAP_TAPS,
    THING_SPECS,
    THING_TAPS,
    detector,
    noisy_pixels,
    segmenter,
)

Spoil = Callable[[onnx.ModelProto], None]
Specs = tuple[TensorSpec, ...]
ALL = {"detector": (detector, THING_SPECS, THING_TAPS), "segmenter": (segmenter, MAP_SPECS, MAP_TAPS)}


def _node(model: onnx.ModelProto, output: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if output in node.output)


def _constant(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def _change(model: onnx.ModelProto, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    tensor = _constant(model, name)
    tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor)), name))


def _through(model: onnx.ModelProto, output: str, operator: str, *more: str, **attributes: Any) -> None:
    """Puts an operator between what makes the output and the output."""
    maker = _node(model, output)
    maker.output[list(maker.output).index(output)] = "before_that"
    for node in model.graph.node:
        node.input[:] = ["before_that" if name == output else name for name in node.input]
    model.graph.node.append(onnx.helper.make_node(operator, ["before_that", *more], [output], **attributes))


def _reorder(model: onnx.ModelProto, output: str, order: list[int], axis: int) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array(order), "order"))
    _through(model, output, "Gather", "order", axis=axis)


def _swap_names(model: onnx.ModelProto, one: str, other: str) -> None:
    names = {one: other, other: one}
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]


# --- what is broken


def wrong_mean(model: onnx.ModelProto) -> None:
    _change(model, "shift", lambda shift: shift * np.array([1, 0.9, 1], np.float32).reshape(1, 3, 1, 1))


def wrong_order_of_colours(model: onnx.ModelProto) -> None:
    _change(model, "weight", lambda weight: np.ascontiguousarray(weight[:, ::-1]))


def transposed_input(model: onnx.ModelProto) -> None:
    _node(model, "planes").attribute[0].CopyFrom(onnx.helper.make_attribute("perm", [0, 3, 2, 1]))


def mirrored_input(model: onnx.ModelProto) -> None:
    _change(model, "weight", lambda weight: np.ascontiguousarray(weight[..., ::-1]))


def not_a_number(model: onnx.ModelProto) -> None:
    def spoil(bias: np.ndarray) -> np.ndarray:
        return np.where(np.arange(len(bias)) == 0, np.float32(np.nan), bias)

    _change(model, "bias", spoil)


def static_batch(model: onnx.ModelProto) -> None:
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1


def picture_of_another(model: onnx.ModelProto) -> None:
    """Every row gets the mean of its batch as well."""
    _node(model, "features").output[0] = "own"
    model.graph.initializer.append(numpy_helper.from_array(np.array([0]), "batch_axis"))
    place = next(i for i, node in enumerate(model.graph.node) if "own" in node.output) + 1
    mean = onnx.helper.make_node("ReduceMean", ["own", "batch_axis"], ["mean_of_batch"], keepdims=1)
    model.graph.node.insert(place, mean)
    model.graph.node.insert(place + 1, onnx.helper.make_node("Add", ["own", "mean_of_batch"], ["features"]))


def swapped_edges(model: onnx.ModelProto) -> None:
    """yxyx where xyxy was promised."""
    _reorder(model, "boxes", [1, 0, 3, 2], axis=2)


def centre_and_size(model: onnx.ModelProto) -> None:
    matrix = np.array([[0.5, 0, -1, 0], [0, 0.5, 0, -1], [0.5, 0, 1, 0], [0, 0.5, 0, 1]], np.float32)
    model.graph.initializer.append(numpy_helper.from_array(matrix, "to_centre"))
    _through(model, "boxes", "MatMul", "to_centre")


def boxes_in_pixels(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array(32, np.float32), "side"))
    _through(model, "boxes", "Mul", "side")


def boxes_of_other_scores(model: onnx.ModelProto) -> None:
    _reorder(model, "boxes", [*range(1, 12), 0], axis=1)


def classes_off_by_one(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array(1, np.int32), "one_more"))
    _through(model, "classes", "Add", "one_more")


def logits_for_scores(model: onnx.ModelProto) -> None:
    _node(model, "scores").op_type = "Identity"


def one_thing_repeated(model: onnx.ModelProto) -> None:
    """As without suppression: each thing's surest finding again and again, in the slots of the others."""
    for output in ("boxes", "scores", "classes", "masks"):
        maker = _node(model, output)
        maker.output[0] = f"{output}_before"
        model.graph.node.append(onnx.helper.make_node("Gather", [f"{output}_before", "first"], [output], axis=1))
    model.graph.initializer.append(numpy_helper.from_array(np.arange(12) // 2, "first"))


def nothing_found(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array(0, np.float32), "nothing"))
    _through(model, "scores", "Mul", "nothing")


def swapped_outputs(model: onnx.ModelProto) -> None:
    _swap_names(model, "boxes", "masks")
    for output in model.graph.output:  # as declared, so that only what comes out tells
        output.name = {"boxes": "masks", "masks": "boxes"}.get(output.name, output.name)


def transposed_masks(model: onnx.ModelProto) -> None:
    _through(model, "masks", "Transpose", perm=[0, 1, 3, 2])


def inverted_masks(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array(1, np.float32), "whole"))
    _through(model, "masks", "Sub", "whole")
    model.graph.node[-1].input[:] = ["whole", "before_that"]


def masks_of_other_things(model: onnx.ModelProto) -> None:
    _reorder(model, "masks", [*range(1, 12), 0], axis=1)


def swapped_maps(model: onnx.ModelProto) -> None:
    _swap_names(model, "class_map", "segment_map")


def transposed_map(model: onnx.ModelProto) -> None:
    _through(model, "class_map", "Transpose", perm=[0, 2, 1])


def shifted_segments(model: onnx.ModelProto) -> None:
    _reorder(model, "segment_map", [*range(1, 8), 0], axis=2)


BOTH: tuple[Spoil, ...] = (
    wrong_mean,
    wrong_order_of_colours,
    transposed_input,
    mirrored_input,
    not_a_number,
    static_batch,
    picture_of_another,
)
OF_DETECTOR: tuple[Spoil, ...] = (
    swapped_edges,
    centre_and_size,
    boxes_in_pixels,
    boxes_of_other_scores,
    classes_off_by_one,
    logits_for_scores,
    one_thing_repeated,
    nothing_found,
    swapped_outputs,
    transposed_masks,
    inverted_masks,
    masks_of_other_things,
)
OF_SEGMENTER: tuple[Spoil, ...] = (swapped_maps, transposed_map, shifted_segments)
CASES = [
    *((name, spoil) for name in ALL for spoil in BOTH),
    *(("detector", spoil) for spoil in OF_DETECTOR),
    *(("segmenter", spoil) for spoil in OF_SEGMENTER),
]
EVERY = pytest.mark.parametrize(("name", "spoil"), CASES, ids=[f"{n}-{s.__name__}" for n, s in CASES])


# --- how it is judged


def reference(name: str) -> Reference:
    make, specs, taps = ALL[name]
    session = onnx_session(make())
    names = [spec.name for spec in (*specs, *taps)]
    pixels = noisy_pixels()
    truth = {n: a.astype(np.float64) for n, a in zip(names, session.run(names, {"image": pixels}), strict=True)}
    rounded = {n: a * (1 + 1e-7) if a.dtype == np.float64 else a for n, a in truth.items()}
    return Reference(pixels, truth, rounded)


def onnx_session(model: onnx.ModelProto) -> ort.InferenceSession:
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def written(name: str, folder: Path, *spoil: Spoil) -> tuple[Path, Path]:
    """The candidate with its taps, and without."""
    make, specs, _ = ALL[name]
    model = make()
    for spoiling in spoil:
        spoiling(model)
    onnx.save(model, folder / "tapped.onnx")
    del model.graph.output[len(specs) :]
    onnx.save(model, folder / "published.onnx")
    return folder / "tapped.onnx", folder / "published.onnx"


@pytest.mark.parametrize("name", ALL)
def test_the_good_one_passes(name: str, tmp_path: Path) -> None:
    _, specs, taps = ALL[name]
    results = dict(verify_located(*written(name, tmp_path), specs, taps, reference(name)))
    assert {"before_error", "before_cosine", "shapes", "batch", "finite"} <= results.keys()
    assert results.keys() >= ({"detections", "masks"} if name == "detector" else {"pixels", "segments"})


@EVERY
def test_a_broken_one_is_refused(name: str, spoil: Spoil, tmp_path: Path) -> None:
    _, specs, taps = ALL[name]
    with pytest.raises(GateFailure) as caught:
        verify_located(*written(name, tmp_path, spoil), specs, taps, reference(name))
    assert caught.value.failures


@EVERY
def test_its_answers_alone_are_reason_enough(name: str, spoil: Spoil, tmp_path: Path) -> None:
    _, specs, _ = ALL[name]
    evidence = gather(written(name, tmp_path, spoil)[1], specs, reference(name))
    refused = []
    for gate_name, gate in (*DECLARED_GATES, *answer_gates({spec.name for spec in specs})):
        try:
            gate(evidence)
        except Refused:
            refused.append(gate_name)
    assert refused
