"""FP16 variants: where half precision ends, what refuses them, and how a run makes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from export.catalogue.registry import find
from export.errors import GateFailure
from export.fp16.attempt import attempt_fp16
from export.fp16.convert import convert
from export.fp16.crops import CROPS, crops
from export.fp16.identity import fp16_name
from export.fp16.judge import judge, top1
from export.fp16.variant import accuracy_left
from export.outcome import Plan
from export.quantisation.attempt import withdraw_stranger
from export.sources import Choice
from export.upstream import upstream
from service.entry_config import read_entry
from service.entry_files import onnx_path
from service.manifest import Accuracy
from tests.small_entry import ROW_NAME, write_small_entry

ROW = find(ROW_NAME)


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.uint8]:
    return crops(upstream(ROW))


def quiet(step: str) -> None:
    pass


def test_the_crops_are_many_different_pictures_and_always_the_same(pixels: NDArray[np.uint8]) -> None:
    assert pixels.shape == (CROPS, 32, 32, 3)
    assert len(np.unique(pixels.reshape(CROPS, -1), axis=0)) == CROPS
    assert (pixels == crops(upstream(ROW))).all()


def test_input_and_outputs_stay_and_sums_are_made_in_fp32(tmp_path: Path) -> None:
    write_small_entry(tmp_path)
    half = tmp_path / "half.onnx"
    convert(onnx_path(tmp_path / ROW_NAME), half)
    model = onnx.load(half)
    onnx.checker.check_model(model)  # also: nodes in the order of execution
    types = {value.name: value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)}
    assert types == {"image": TensorProto.UINT8, "probabilities": TensorProto.FLOAT, "embedding": TensorProto.FLOAT}
    tensors = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    inferred = onnx.shape_inference.infer_shapes(model).graph.value_info
    tensors |= {value.name: value.type.tensor_type.elem_type for value in inferred} | types
    precisions = {node.op_type: {tensors.get(name) for name in node.input} for node in model.graph.node}
    assert precisions["Conv"] == precisions["Gemm"] == {TensorProto.FLOAT16}
    for operator in ("Mul", "Add", "Softmax"):
        assert precisions[operator] == {TensorProto.FLOAT}, operator
    assert precisions["ReduceMean"] == {TensorProto.FLOAT, TensorProto.INT64}


def test_a_good_graph_passes_and_says_what_was_measured(tmp_path: Path, pixels: NDArray[np.uint8]) -> None:
    card = write_small_entry(tmp_path)
    half = tmp_path / "half.onnx"
    convert(onnx_path(tmp_path / ROW_NAME), half)
    results, changed = judge(onnx_path(tmp_path / ROW_NAME), half, card.outputs, pixels)
    assert changed <= 1
    assert dict(results)["cosine"].endswith("≥ 0.999")
    assert {"names", "dtypes", "shapes", "batch", "finite", "not_constant", "independent_rows"} <= set(dict(results))


def spoiled(source: Path, broken: Path, how: str) -> None:
    """A candidate that is wrong in one way."""
    model = onnx.load(source)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    match how:
        case "other weights":
            array = numpy_helper.to_array(tensors["kernel"])
            tensors["kernel"].CopyFrom(numpy_helper.from_array(array[::-1].copy(), "kernel"))
        case "no number":
            array = numpy_helper.to_array(tensors["bias"])
            tensors["bias"].CopyFrom(numpy_helper.from_array(np.full_like(array, np.nan), "bias"))
        case "half outputs":
            next(
                v for v in model.graph.output if v.name == "embedding"
            ).type.tensor_type.elem_type = TensorProto.FLOAT16
            identity = next(node for node in model.graph.node if node.op_type == "Identity")
            cast = onnx.helper.make_node("Cast", identity.input, identity.output, to=TensorProto.FLOAT16)
            identity.CopyFrom(cast)
    onnx.save(model, broken)


@pytest.mark.parametrize(
    ("how", "gate"), [("other weights", "cosine"), ("no number", "finite"), ("half outputs", "dtypes")]
)
def test_a_broken_graph_is_refused(tmp_path: Path, pixels: NDArray[np.uint8], how: str, gate: str) -> None:
    card = write_small_entry(tmp_path)
    spoiled(onnx_path(tmp_path / ROW_NAME), tmp_path / "broken.onnx", how)
    with pytest.raises(GateFailure) as refused:
        judge(onnx_path(tmp_path / ROW_NAME), tmp_path / "broken.onnx", card.outputs, pixels)
    assert gate in dict(refused.value.failures)


def test_one_picture_of_two_hundred_may_change_its_class_and_not_two() -> None:
    expected = {"probabilities": np.eye(10)[np.arange(200) % 10]}
    for wrong, passes in ((0, True), (1, True), (2, False)):
        found = {"probabilities": expected["probabilities"].copy()}
        found["probabilities"][:wrong] = found["probabilities"][:wrong, ::-1]
        assert top1(expected, found)[0] is passes


def test_what_changed_counts_as_lost() -> None:
    published = Accuracy(80.0, "top-1", "imagenet-1k", "a paper")
    assert accuracy_left(published, 0) is published
    assert accuracy_left(None, 3) is None
    left = accuracy_left(published, 1)
    assert left is not None
    assert left.value == pytest.approx(80 - 100 / CROPS, abs=0.01)
    assert "1 of 204 crops" in left.source


def test_a_variant_of_other_weights_does_not_stay(tmp_path: Path) -> None:
    fp32 = write_small_entry(tmp_path)
    write_small_entry(tmp_path, fp16_name(ROW_NAME), precision="fp16")
    assert withdraw_stranger(fp32, tmp_path, fp16_name(ROW_NAME)) == ""
    other = replace(fp32, weights=replace(fp32.weights, sha256="f" * 64))
    assert "removed" in withdraw_stranger(other, tmp_path, fp16_name(ROW_NAME))
    assert [path.name for path in tmp_path.iterdir()] == [ROW_NAME]


def test_a_run_makes_the_variant_once_and_again_when_the_entry_changed(tmp_path: Path) -> None:
    fp32 = write_small_entry(tmp_path)
    plan = Plan(tmp_path, Choice("first"), False, fp16=frozenset({ROW_NAME}))
    made = attempt_fp16(ROW, fp32, plan, quiet)
    assert (made.name, made.state) == (fp16_name(ROW_NAME), "exported"), made.reason
    card = read_entry(tmp_path / made.name)
    assert (card.precision, card.variant_of, card.backend) == ("fp16", ROW_NAME, "onnxruntime")
    assert card.profile is not None  # measured, and no gate asks that it be short
    assert "faster" not in dict(card.verification)
    assert attempt_fp16(ROW, fp32, plan, quiet).state == "up to date"
    onnx_path(tmp_path / made.name).write_bytes(b"damaged")
    assert attempt_fp16(ROW, fp32, plan, quiet).state == "exported"
    assert made.command == f"vision-export lenet5 --precision fp16 --repository {tmp_path}"
