"""The gates of detectors and segmenters: the same answer passes, every kind of other answer is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from export.reference import Reference
from export.verify import BATCHES, Evidence, Refused
from export.verify_located import SCORE_FLOOR, Arrays, answer_gates, iou, matched

PICTURES, SLOTS, SIDE = 7, 6, 10
SHAPES = {"boxes": (SLOTS, 4), "scores": (SLOTS,), "classes": (SLOTS,), "masks": (SLOTS, 4, 4)}


def things() -> Arrays:
    """Two sure things and one that is noise in every picture; the other slots are empty."""
    rng = np.random.default_rng(0)
    arrays = {name: np.zeros((PICTURES, *shape)) for name, shape in SHAPES.items()}
    corner = rng.uniform(0.0, 0.4, (PICTURES, 3, 2))
    arrays["boxes"][:, :3] = np.concatenate([corner, corner + 0.5], axis=2)
    arrays["scores"][:, :3] = (0.9, 0.5, 0.01)
    arrays["classes"][:, 1] = 1
    arrays["masks"][:, :3] = rng.random((PICTURES, 3, 4, 4))
    return arrays


def maps() -> Arrays:
    return {"class_map": np.random.default_rng(0).integers(0, 5, (PICTURES, SIDE, SIDE)).astype(np.float64)}


def evidence(truth: Arrays, ours: Arrays) -> Evidence:
    return Evidence(
        inputs={},
        outputs={},
        answers={n: {name: array[:n] for name, array in ours.items()} for n in BATCHES},
        alone={name: array[2:3] for name, array in ours.items()},
        expected=(),
        reference=Reference(np.zeros((PICTURES, 1, 1, 3), np.uint8), truth, truth),
    )


def judge(gate: str, truth: Arrays, ours: Arrays) -> str:
    return dict(answer_gates(set(truth)))[gate](evidence(truth, ours))


@pytest.mark.parametrize(("gate", "truth"), [("detections", things()), ("masks", things()), ("pixels", maps())])
def test_the_same_answer_passes_and_says_what_was_compared(gate: str, truth: Arrays) -> None:
    assert any(character.isdigit() for character in judge(gate, truth, copy.deepcopy(truth)))


def test_the_order_of_things_and_what_is_noise_do_not_matter() -> None:
    truth, ours = things(), things()
    for name in SHAPES:
        ours[name][:, [0, 1]] = ours[name][:, [1, 0]]
    ours["boxes"][:, 2] = 0.0
    judge("detections", truth, ours)


def _moved(a: Arrays) -> None:
    a["boxes"][4, 0] += 0.02


def _other_class(a: Arrays) -> None:
    a["classes"][0, 0] = 3


def _less_sure(a: Arrays) -> None:
    a["scores"][6, 1] -= 0.01


def _missing(a: Arrays) -> None:
    a["scores"][5, 1] = 0.0


def _one_more(a: Arrays) -> None:
    a["boxes"][3, 5], a["scores"][3, 5] = (0.0, 0.0, 0.1, 0.1), 0.8


def _not_a_number(a: Arrays) -> None:
    a["boxes"][1, 0] = np.nan


@pytest.mark.parametrize("spoil", [_moved, _other_class, _less_sure, _missing, _one_more, _not_a_number])
def test_every_other_thing_is_refused(spoil: Callable[[Arrays], None]) -> None:
    truth, ours = things(), things()
    spoil(ours)
    with pytest.raises(Refused, match="no counterpart"):
        judge("detections", truth, ours)


def test_a_thing_that_depends_on_its_company_is_refused() -> None:
    truth = things()
    judged = evidence(truth, things())
    assert isinstance(judged.alone, dict)
    judged.alone["scores"] = judged.alone["scores"] * 0.5
    with pytest.raises(Refused, match="alone"):
        dict(answer_gates(set(truth)))["detections"](judged)


def test_a_mask_that_differs_in_one_cell_of_sixteen_is_refused() -> None:
    truth, ours = things(), things()
    ours["masks"][2, 0, 1, 1] = 1.0 - truth["masks"][2, 0, 1, 1]
    with pytest.raises(Refused, match="mask"):
        judge("masks", truth, ours)


def test_a_pixel_in_a_hundred_is_refused() -> None:
    truth, ours = maps(), maps()
    ours["class_map"][2, 0, 0] += 1
    with pytest.raises(Refused, match="agree"):
        judge("pixels", truth, ours)


@pytest.mark.parametrize(("gate", "truth"), [("detections", things()), ("pixels", maps())])
def test_a_comparison_of_nothing_is_refused(gate: str, truth: Arrays) -> None:
    nothing = {name: np.zeros_like(array) for name, array in truth.items()}
    with pytest.raises(Refused, match="compares nothing"):
        judge(gate, nothing, nothing)


def test_a_graph_that_does_not_run_is_refused() -> None:
    truth = things()
    judged = evidence(truth, things())
    judged.answers[2] = "it fell over"
    with pytest.raises(Refused, match="it fell over"):
        dict(answer_gates(set(truth)))["detections"](judged)


def test_things_are_matched_one_by_one_above_the_floor() -> None:
    arrays = {name: array[0] for name, array in things().items()}
    assert arrays["scores"][2] < SCORE_FLOOR
    assert matched(arrays, arrays) == [(0, 0), (1, 1)]


def test_overlap_is_intersection_over_union() -> None:
    box: NDArray[np.float64] = np.array([0.0, 0.0, 2.0, 2.0])
    others = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [2, 2, 3, 3], [5, 5, 6, 6], [0, 0, 0, 0]], dtype=np.float64)
    assert iou(box, others) == pytest.approx([1.0, 1 / 3, 0.0, 0.0, 0.0])
