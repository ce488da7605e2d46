"""INT8 step by step, on a network of a few hundred weights: what each step promises, and what the gates refuse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from export.catalogue.registry import CALIBRATED_NAMES
from export.errors import GateFailure, GraphError
from export.quantisation.absorb_normalisation import absorb_normalisation
from export.quantisation.calibrate import calibrate
from export.quantisation.depthwise_rounding import LARGEST, round_keeping_sums
from export.quantisation.float_graph import FloatGraph, float_graph
from export.quantisation.held_out import HELD_OUT_GATES
from export.quantisation.judge import DEVICE_GATES, Trial, answers, judge_trial, measure
from export.quantisation.paired import Paired
from export.quantisation.pictures import Half
from export.quantisation.quantise import quantise
from export.quantisation.ranges import Measured, Ranges, read_ranges, shipped_ranges, write_ranges
from export.quantisation.variant import accuracy_left
from service.manifest import Accuracy
from tests.small_network import coloured_pixels, write_small_network

MEASURED = Measured(pictures=100, agreeing=99, labelled=True, fp32_right=90, int8_right=90, by="a test")
TWICE_AS_FAST = Paired(first_ms=10.0, second_ms=5.0, ratio=2.0, pairs=20)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return write_small_network(tmp_path / "fp32.onnx")


def ranges_of(graph: FloatGraph) -> Ranges:
    return Ranges("0" * 64, graph.structure, "colours", calibrate(graph, coloured_pixels(40)), MEASURED)


@pytest.fixture
def int8(network: Path) -> Path:
    graph = float_graph(network)
    quantise(graph, ranges_of(graph), network.with_name("int8.onnx"))
    return network.with_name("int8.onnx")


# The steps.


def test_the_absorbed_normalisation_changes_nothing_away_from_the_edges(network: Path) -> None:
    model = onnx.load(network)
    centre = absorb_normalisation(model)
    assert centre == 114  # 255 × (0.485 / 0.229 + …): the mean of the three colours' means
    grey = np.full((2, 24, 24, 3), centre, dtype=np.uint8)  # the colour that padding now has: no edge to see
    grey[1, 8:16, 8:16] = (250, 10, 90)
    before, after = (
        ort.InferenceSession(m.SerializeToString()).run(["stem"], {"image": grey})[0][:, :, 1:, 1:]
        for m in (with_stem(onnx.load(network)), with_stem(model))
    )
    np.testing.assert_allclose(before, after, atol=1e-4)


def with_stem(model: onnx.ModelProto) -> onnx.ModelProto:
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info("stem", onnx.TensorProto.FLOAT, None))
    return model


def test_a_graph_that_begins_otherwise_is_a_sentence(network: Path) -> None:
    model = onnx.load(network)
    del model.graph.node[:2]
    with pytest.raises(GraphError, match="does not begin with Transpose, Cast"):
        absorb_normalisation(model)


@given(arrays.arrays(np.float32, (4, 9), elements=st.floats(-2, 2, width=32)))
def test_rounded_kernels_are_on_the_grid_and_keep_their_sums(kernels: np.ndarray) -> None:
    step = np.abs(kernels).max(axis=1, keepdims=True).astype(np.float64) / LARGEST
    step[step == 0] = 1
    moved = round_keeping_sums(kernels)
    on_grid = moved / step
    assert np.abs(on_grid - np.rint(on_grid)).max() < 1e-3
    assert np.abs(on_grid).max() <= LARGEST + 1e-3
    assert (np.abs(moved - kernels) / step).max() < 1.001
    assert (np.abs((moved - kernels).sum(axis=1, keepdims=True)) / step).max() <= 0.501


def test_the_names_do_not_depend_on_those_that_torch_chose(tmp_path: Path) -> None:
    first = float_graph(write_small_network(tmp_path / "a.onnx"))
    second = float_graph(write_small_network(tmp_path / "b.onnx", prefix="val_77_"))
    assert first.structure == second.structure
    assert calibrate(first, coloured_pixels(8)) == calibrate(second, coloured_pixels(8))


def test_the_float_graph_answers_like_the_original(network: Path) -> None:
    file = network.with_name("float.onnx")
    onnx.save(float_graph(network).model, file)
    pixels = coloured_pixels(16)
    # The grey of the padding is not the mean colour: see absorb_normalisation.
    assert np.abs(answers(network, pixels)["probabilities"] - answers(file, pixels)["probabilities"]).max() < 0.05


def test_ranges_survive_their_file(network: Path, tmp_path: Path) -> None:
    ranges = ranges_of(float_graph(network))
    write_ranges(ranges, tmp_path / "new" / "small.json")
    read = read_ranges(tmp_path / "new" / "small.json")
    assert replace(read, by_tensor=ranges.by_tensor) == ranges
    for name, pair in ranges.by_tensor.items():
        assert read.by_tensor[name] == pytest.approx(pair, rel=1e-6)


def test_ranges_of_another_graph_are_refused(network: Path, tmp_path: Path) -> None:
    graph = float_graph(network)
    with pytest.raises(GraphError, match="another graph"):
        quantise(graph, replace(ranges_of(graph), structure="f" * 64), tmp_path / "int8.onnx")


def test_the_optimised_graph_is_integer_from_the_bytes_to_the_logits(int8: Path) -> None:
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(int8.with_name("optimised.onnx"))
    options.log_severity_level = 3  # that such a file fits this machine only is understood
    ort.InferenceSession(int8, options, providers=["CPUExecutionProvider"])
    operators = [node.op_type for node in onnx.load(int8.with_name("optimised.onnx")).graph.node]
    assert operators.count("QLinearConv") == 3
    assert not {"Conv", "Clip", "Cast", "QuantizeLinear", "Add", "Gemm"} & set(operators)
    # One for the embedding, which is an output.
    assert operators.count("DequantizeLinear") == 1


# The gates.


def trial(network: Path, int8: Path, measured: Measured = MEASURED, timing: Paired = TWICE_AS_FAST) -> Trial:
    pixels = coloured_pixels(24, seed=9)
    return Trial(answers(network, pixels), answers(int8, pixels), measured, timing)


def refused_by(trial_: Trial) -> set[str]:
    with pytest.raises(GateFailure) as caught:
        judge_trial(trial_)
    return {gate for gate, _ in caught.value.failures}


def test_a_good_variant_passes_every_gate(network: Path, int8: Path) -> None:
    measured = measure(network, int8, Half(coloured_pixels(100, seed=3), None))
    assert measured.agreeing >= 97
    results = judge_trial(trial(network, int8, measured))
    assert [name for name, _ in results] == [name for name, _ in (*HELD_OUT_GATES, *DEVICE_GATES)]
    assert "2.00 × ≥ 1.1 ×" in dict(results)["faster"]


def test_swapped_ranges_are_refused(network: Path) -> None:
    graph = float_graph(network)
    ranges = ranges_of(graph)
    names = list(ranges.by_tensor)
    swapped = dict(zip(names, reversed(list(ranges.by_tensor.values())), strict=True))
    broken = network.with_name("broken.onnx")
    quantise(graph, replace(ranges, by_tensor=swapped), broken)
    measured = measure(network, broken, Half(coloured_pixels(100, seed=3), None))
    assert "photographs" in refused_by(trial(network, broken, measured))


def test_ranges_of_white_pictures_are_refused(network: Path) -> None:
    graph = float_graph(network)
    white = calibrate(graph, np.full((8, 24, 24, 3), 255, dtype=np.uint8))
    broken = network.with_name("broken.onnx")
    quantise(graph, replace(ranges_of(graph), by_tensor=white), broken)
    measured = measure(network, broken, Half(coloured_pixels(100, seed=3), None))
    assert {"agreement", "photographs"} <= refused_by(trial(network, broken, measured))


def test_each_number_has_its_gate(network: Path, int8: Path) -> None:
    assert refused_by(trial(network, int8, replace(MEASURED, agreeing=96))) == {"agreement"}
    assert refused_by(trial(network, int8, replace(MEASURED, int8_right=89))) == {"accuracy"}
    assert refused_by(trial(network, int8, timing=replace(TWICE_AS_FAST, ratio=1.05))) == {"faster"}
    assert refused_by(replace(trial(network, int8), fp32=answers(network, coloured_pixels(24)))) == {"photographs"}


def test_without_labels_the_card_says_so(network: Path, int8: Path) -> None:
    unlabelled = replace(MEASURED, labelled=False, fp32_right=0, int8_right=0)
    assert dict(judge_trial(trial(network, int8, unlabelled)))["accuracy"] == "the pictures have no labels"


# The card.

PUBLISHED = Accuracy(75.1, "top-1", "imagenet-1k", "the authors")


def accuracy_with(**changes: object) -> Accuracy | None:
    ranges = Ranges("", "", "", {}, replace(MEASURED, **changes))  # type: ignore[arg-type]
    return accuracy_left(PUBLISHED, ranges)


def test_what_was_lost_is_taken_off_the_published_accuracy() -> None:
    left = accuracy_with(fp32_right=90, int8_right=89)
    assert left is not None
    assert left.value == 74.1
    assert left.source.startswith(
        "FP32: the authors; minus 1 points: on 100 held-out photographs INT8 had 89 right and"
    )


def test_what_was_won_is_not_added() -> None:
    left = accuracy_with(fp32_right=90, int8_right=93)
    assert left is not None
    assert left.value == 75.1


def test_without_labels_every_changed_answer_counts_as_lost() -> None:
    left = accuracy_with(labelled=False, agreeing=98)
    assert left is not None
    assert left.value == 73.1
    assert accuracy_with(labelled=False, pictures=7, agreeing=7) is None


def test_an_untrained_network_s_variant_has_no_accuracy() -> None:
    assert accuracy_left(None, Ranges("", "", "", {}, MEASURED)) is None


def test_the_shipped_ranges_can_be_read() -> None:
    for name in CALIBRATED_NAMES:
        ranges = shipped_ranges(name)
        assert ranges is not None
        assert all(least <= largest for least, largest in ranges.by_tensor.values())
        assert isinstance(ranges.measured, Measured)
        assert ranges.measured.pictures > 100
    assert shipped_ranges("no_such_model") is None
