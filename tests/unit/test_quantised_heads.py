"""INT8 of detectors and segmenters: what of the graph becomes integers, and what the gates refuse."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from export.catalogue.registry import CALIBRATED_HEADS, CATALOGUE
from export.catalogue.row import StarterWeights
from export.errors import GateFailure, GraphError
from export.quantisation.absorb_normalisation import absorb_normalisation
from export.quantisation.float_graph import float_graph
from export.quantisation.held_out import demand
from export.quantisation.judge import Answers
from export.quantisation.judge_located import HeadTrial, judge_head_trial, photographs
from export.quantisation.paired import Paired
from export.quantisation.ranges import Ranges, TaskQuality, read_ranges, shipped_ranges, write_ranges
from export.quantisation.scope import operators_in_scope
from export.quantisation.variant import accuracy_left
from service.manifest import Accuracy
from tests.small_detector import detector, noisy_pixels

MEASURED = TaskQuality("27 pictures", (("AP50", 94.0, 93.5), ("AP", 56.0, 56.5)), "a test")
TWICE_AS_FAST = Paired(first_ms=10.0, second_ms=5.0, ratio=2.0, pairs=20)
PUBLISHED = Accuracy(94.0, "AP50", "Penn-Fudan, held-out fifth", "measured")


# The graph.


def test_a_normalisation_that_subtracts_is_absorbed_as_well() -> None:
    before, after = detector(), detector()
    assert absorb_normalisation(after) == 112  # 255 levels: the mean of 2.1 · 58, 2.0 · 57 and 1.8 · 56, rounded
    one, other = (
        ort.InferenceSession(m.SerializeToString()).run(["logits"], {"image": noisy_pixels()})[0]
        for m in (before, after)
    )
    np.testing.assert_allclose(one, other, atol=1e-4)


def test_an_operator_with_two_outputs_has_two_names(tmp_path: Path) -> None:
    onnx.save(detector(), tmp_path / "detector.onnx")
    model = float_graph(tmp_path / "detector.onnx").model
    (top,) = (node for node in model.graph.node if node.op_type == "TopK")
    assert list(top.output) == ["TopK_0", "TopK_0_1"]
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert session.run(["scores"], {"image": noisy_pixels()})[0].shape == (7, 12)


def test_a_head_on_another_backbone_is_a_sentence(tmp_path: Path) -> None:
    onnx.save(detector(), tmp_path / "detector.onnx")
    with pytest.raises(GraphError, match="only heads on EfficientNet-Lite0"):
        operators_in_scope(float_graph(tmp_path / "detector.onnx"))


# What ships.


@pytest.mark.parametrize("name", CALIBRATED_HEADS)
def test_the_shipped_ranges_fit_the_head_and_pass_the_gate(name: str) -> None:
    ranges, row = shipped_ranges(name), CATALOGUE[name]
    assert ranges is not None
    (source,) = row.weights
    assert isinstance(source, StarterWeights)
    assert ranges.weights_sha256 == source.heads[0][1], "a head trained anew is calibrated and measured anew"
    assert all(least <= largest for least, largest in ranges.by_tensor.values())
    assert isinstance(ranges.measured, TaskQuality)
    demand(ranges.measured)
    assert row.accuracy is not None
    metric, fp32_percent, _ = ranges.measured.scores[0]
    assert metric == row.accuracy.metric
    # Measured on the exported graph; the row's figure was on torch's module.
    assert fp32_percent == pytest.approx(row.accuracy.value, abs=0.1)


def test_quality_survives_its_file(tmp_path: Path) -> None:
    ranges = Ranges("0" * 64, "f" * 64, "streets", {"Conv_0": (-1.0, 2.0)}, MEASURED)
    write_ranges(ranges, tmp_path / "head.json")
    assert read_ranges(tmp_path / "head.json") == ranges


# The card.


def test_what_the_metric_lost_is_taken_off_and_what_it_won_is_not_added() -> None:
    lost = accuracy_left(PUBLISHED, Ranges("", "", "", {}, MEASURED))
    assert lost is not None
    assert lost.value == 93.5
    assert lost.source.endswith("minus 0.5 points: on 27 pictures AP50 is 93.5 with INT8 and 94 with FP32")
    won = replace(MEASURED, scores=(("AP50", 94.0, 95.0), ("AP", 56.0, 56.0)))
    kept = accuracy_left(PUBLISHED, Ranges("", "", "", {}, won))
    assert kept is not None
    assert kept.value == 94.0


# The gates.


def things() -> Answers:
    rng = np.random.default_rng(0)
    corner = rng.uniform(0.0, 0.4, (7, 4, 2))
    return {
        "boxes": np.concatenate([corner, corner + 0.4], axis=2),
        "scores": np.tile([0.9, 0.6, 0.4, 0.1], (7, 1)),
        "classes": np.zeros((7, 4)),
        "masks": rng.random((7, 4, 8, 8)),
    }


def maps() -> Answers:
    return {"class_map": np.random.default_rng(0).integers(0, 11, (7, 16, 16)).astype(np.float64)}


def nearly(answers: Answers) -> Answers:
    """As another precision answers."""
    moved = copy.deepcopy(answers)
    if "boxes" in moved:
        moved["boxes"] += 0.01
        moved["scores"] += 0.02
    else:
        moved["class_map"][:, 0] += 1
    return moved


def refused_by(trial: HeadTrial) -> set[str]:
    with pytest.raises(GateFailure) as caught:
        judge_head_trial(trial)
    return {gate for gate, _ in caught.value.failures}


@pytest.mark.parametrize("fp32", [things(), maps()], ids=["things", "maps"])
def test_nearly_the_same_answers_pass(fp32: Answers) -> None:
    results = judge_head_trial(HeadTrial(fp32, nearly(fp32), MEASURED, TWICE_AS_FAST))
    assert [name for name, _ in results] == ["accuracy", "photographs", "faster"]


@pytest.mark.parametrize(
    "scores",
    [
        (("AP50", 94.0, 93.0), ("AP", 56.0, 56.0)),
        (("AP50", 94.0, 94.0), ("AP", 56.0, 55.0)),
        (("AP50", 94.0, float("nan")), ("AP", 56.0, 56.0)),
        (("AP50", 0.0, 0.0), ("AP", 0.0, 0.0)),
    ],
    ids=["the card's metric", "a stricter metric", "no number", "nothing found by either"],
)
def test_each_metric_has_to_hold(scores: tuple[tuple[str, float, float], ...]) -> None:
    measured = replace(MEASURED, scores=scores)
    assert refused_by(HeadTrial(things(), things(), measured, TWICE_AS_FAST)) == {"accuracy"}
    with pytest.raises(GateFailure, match="accuracy"):
        demand(measured)


def test_a_head_that_gains_nothing_is_refused() -> None:
    trial = HeadTrial(things(), things(), MEASURED, replace(TWICE_AS_FAST, ratio=1.05))
    assert refused_by(trial) == {"faster"}


@pytest.mark.parametrize("spoil", ["moved", "unsure", "other class", "more", "masks", "nan", "nothing"])
def test_photographs_that_get_another_answer_are_refused(spoil: str) -> None:
    fp32, int8 = things(), things()
    match spoil:
        case "moved":
            int8["boxes"] = int8["boxes"][..., [1, 0, 3, 2]]
        case "unsure":
            int8["scores"] *= 0.5
        case "other class":
            int8["classes"] += 1
        case "more":
            fp32["scores"][:, 1:] = 0.1
        case "masks":
            int8["masks"] = 1 - int8["masks"]
        case "nan":
            int8["boxes"][:] = np.nan
        case "nothing":
            fp32["scores"] *= 0
            int8["scores"] *= 0
    passes, _ = photographs(fp32, int8)
    assert not passes


def test_maps_of_other_classes_are_refused() -> None:
    fp32 = maps()
    assert not photographs(fp32, {"class_map": fp32["class_map"].transpose(0, 2, 1)})[0]
    assert not photographs(fp32, {"class_map": np.zeros_like(fp32["class_map"])})[0]
