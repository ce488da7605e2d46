"""INT8 variants of the real heads: made without a picture, measured again, refused when calibrated on nonsense."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from export.catalogue.registry import CALIBRATED_HEADS, find
from export.errors import GateFailure
from export.outcome import Plan
from export.quantisation.attempt import attempt_int8
from export.quantisation.calibrate import calibrate
from export.quantisation.float_graph import float_graph
from export.quantisation.head_quality import calibration_pixels, measured_on
from export.quantisation.identity import fitting_ranges
from export.quantisation.judge_located import judge_located
from export.quantisation.quantise import quantise
from export.quantisation.ranges import Ranges, TaskQuality
from export.quantisation.variant import photographs
from export.sources import Choice
from export.starter.pictures import penn_fudan
from export.tensorrt.attempt import attempt_plan
from export.tensorrt.fake import FakeBuilder
from service.entry_config import read_entry
from service.entry_files import onnx_path
from tests.gateway_server import REPOSITORY, require_starter_models, shared_data

BOXES, MASKS, SCENES = (
    "ssdlite_efficientnet_lite0_256",
    "masks_efficientnet_lite0_256",
    "unet_efficientnet_lite0_192x256",
)
BACKBONE_CONVOLUTIONS = 48


def quiet(step: str) -> None:
    pass


def shipped(name: str) -> tuple[Path, Ranges]:
    """The FP32 entry's graph and its ranges; skips the test where the entry is missing."""
    require_starter_models((name,))
    return onnx_path(REPOSITORY / name), fitting_ranges(read_entry(REPOSITORY / name))


@pytest.mark.parametrize("name", CALIBRATED_HEADS)
def test_the_shipped_ranges_fit_the_exported_graph(name: str) -> None:
    fp32, ranges = shipped(name)
    assert float_graph(fp32).structure == ranges.structure


@pytest.mark.parametrize(("name", "more"), [(BOXES, 0), (MASKS, 16), (SCENES, 0)])
def test_the_backbone_and_the_mask_branch_are_integers_and_the_rest_is_not(
    name: str, more: int, tmp_path: Path
) -> None:
    fp32, ranges = shipped(name)
    quantise(float_graph(fp32), ranges, tmp_path / "int8.onnx")
    graph = onnx.load(tmp_path / "int8.onnx").graph
    makers = {output: node for node in graph.node for output in node.output}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    integers = [node for node in convolutions if node.input[1] in makers]  # the weight comes through DequantizeLinear
    assert len(integers) == BACKBONE_CONVOLUTIONS + more
    assert len(convolutions) > len(integers)


@pytest.mark.parametrize("name", [BOXES, SCENES])
def test_the_shipped_measurement_can_be_repeated(name: str, tmp_path: Path) -> None:
    data = shared_data("camvid").parent
    fp32, ranges = shipped(name)
    assert isinstance(ranges.measured, TaskQuality)
    quantise(float_graph(fp32), ranges, tmp_path / "int8.onnx")
    found = measured_on(find(name), fp32, tmp_path / "int8.onnx", data)
    assert found.pictures == ranges.measured.pictures
    for (metric, *now), (shipped_metric, *then) in zip(found.scores, ranges.measured.scores, strict=True):
        assert metric == shipped_metric
        # One of the 68 people is 1.5 points; another processor may round one the other way.
        assert now == pytest.approx(then, abs=1.6)


def test_what_calibrates_was_trained_on_and_judges_nothing() -> None:
    data = shared_data("pennfudan").parent
    pixels, words = calibration_pixels(find(BOXES), data)
    assert len(pixels) == 37 + 20
    assert words == "37 pictures of Penn-Fudan's trained part and 20 of coco128"
    trained, held_out = penn_fudan(data)
    assert not {picture.image for picture in trained[::3]} & {picture.image for picture in held_out}


def test_a_variant_is_made_from_the_shipped_ranges_without_a_picture(tmp_path: Path) -> None:
    require_starter_models((BOXES,))
    shutil.copytree(REPOSITORY / BOXES, tmp_path / BOXES)
    fp32, row = read_entry(tmp_path / BOXES), find(BOXES)
    plan = Plan(tmp_path, Choice("first"), False, int8=frozenset({BOXES}))
    outcome = attempt_int8(row, fp32, plan, quiet)
    if "faster" in outcome.reason:  # a CPU without dot-product instructions: refused, and for nothing else
        assert outcome.reason.startswith("refused by faster: ")
        return
    assert outcome.state == "exported", outcome.reason
    card = read_entry(tmp_path / f"{BOXES}_int8")
    assert (card.variant_of, card.precision, card.weights) == (fp32.variant_of, "int8", fp32.weights)
    assert card.onnx_bytes < 0.4 * fp32.onnx_bytes
    assert {"accuracy", "photographs", "faster", "independent_detections"} <= dict(card.verification).keys()
    assert fp32.accuracy is not None
    assert card.accuracy is not None
    assert (card.accuracy.metric, card.accuracy.dataset) == (fp32.accuracy.metric, fp32.accuracy.dataset)
    assert card.accuracy.value <= fp32.accuracy.value
    assert "held-out fifth AP50 is" in card.accuracy.source
    assert (tmp_path / card.name / "MODEL_CARD.md").is_file()
    assert attempt_int8(row, fp32, plan, quiet).state == "up to date"
    no_plan = attempt_plan(row, card.name, replace(plan, engines=tmp_path / "engines"), FakeBuilder(), quiet)
    assert (no_plan.state, no_plan.reason) == (
        "not published",
        "heads in INT8 are for CPUs; on a GPU the FP32 entry has the plan",
    )


@pytest.mark.parametrize(
    ("name", "nonsense"),
    [
        (BOXES, "grey pictures"),
        (BOXES, "cut ranges"),
        (MASKS, "swapped ranges"),
        (SCENES, "grey pictures"),
        (SCENES, "cut ranges"),
    ],
)
def test_ranges_of_nonsense_are_refused_by_the_photographs(name: str, nonsense: str, tmp_path: Path) -> None:
    fp32, ranges = shipped(name)
    graph = float_graph(fp32)
    match nonsense:
        case "grey pictures":
            height_px, width_px = find(name).resize.size_hw
            by_tensor = calibrate(graph, np.full((4, height_px, width_px, 3), 128, np.uint8))
        case "cut ranges":
            by_tensor = {n: (0.3 * least, 0.3 * largest) for n, (least, largest) in ranges.by_tensor.items()}
        case _:
            swapped = reversed(list(ranges.by_tensor.values()))
            by_tensor = dict(zip(ranges.by_tensor, swapped, strict=True))
    quantise(graph, replace(ranges, by_tensor=by_tensor), tmp_path / "int8.onnx")
    assert isinstance(ranges.measured, TaskQuality)
    outputs = read_entry(REPOSITORY / name).outputs
    with pytest.raises(GateFailure, match="photographs"):
        judge_located(fp32, tmp_path / "int8.onnx", outputs, ranges.measured, photographs(find(name)))
