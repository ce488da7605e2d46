"""Boxes, masks and maps find their way back to the pixels of the upright original."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from service.errors import EngineFailed, InvalidParameter
from service.images import Geometry, to_model_pixels, to_upright
from service.manifest import ResizeRule
from service.tasks.detect import Detection, Wanted, class_ids, find
from service.tasks.segment import UNSEEN, check_classes, map_to_image, paste_masks
from tests.pictures import encoded, header_of, photograph, stored

NAMES = ("person", "dog", "traffic light")
EVERYTHING = Wanted(0.0, 1000)
RULES = [
    ResizeRule("crop", (64, 64), "bilinear", 72),
    ResizeRule("squash", (48, 80)),
    ResizeRule("letterbox", (64, 96)),
]


def as_is(side_px: int = 100) -> Geometry:
    """The model sees the picture as it is."""
    return Geometry((side_px, side_px), (side_px, side_px), (1.0, 1.0), (0.0, 0.0))


def outputs(*things: tuple[tuple[float, float, float, float], float, int], slots: int = 6) -> dict[str, NDArray[Any]]:
    """What a detector gives, empty slots behind."""
    arrays = {
        "boxes": np.zeros((slots, 4), np.float32),
        "scores": np.zeros(slots, np.float32),
        "classes": np.zeros(slots, np.int32),
    }
    for i, (box, score, class_id) in enumerate(things):
        arrays["boxes"][i], arrays["scores"][i], arrays["classes"][i] = box, score, class_id
    return arrays


# --- boxes


@settings(max_examples=120, deadline=None)
@given(
    width=st.integers(1, 900),
    height=st.integers(1, 900),
    corners=st.lists(st.floats(0, 1), min_size=4, max_size=4),
    rule=st.sampled_from(RULES),
    orientation=st.integers(1, 8),
)
def test_boxes_go_there_and_back_within_half_a_pixel(
    width: int, height: int, corners: list[float], rule: ResizeRule, orientation: int
) -> None:
    image, exif = stored(Image.new("RGB", (width, height)), orientation)
    data = encoded(image, "PNG", exif=exif)
    _, geometry = to_model_pixels(data, header_of(data), rule)
    assert geometry.image_hw == (height, width)
    x, y = sorted((corners[0] * width, corners[2] * width)), sorted((corners[1] * height, corners[3] * height))
    box_px = np.array([[x[0], y[0], x[1], y[1]]])
    seen_01 = geometry.boxes_to_model_01(box_px).astype(np.float32)
    assert np.abs(geometry.boxes_to_image_px(seen_01) - box_px).max() <= 0.5


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.mode)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_rectangle_seen_in_the_model_s_pixels_lies_where_it_was_drawn(rule: ResizeRule, orientation: int) -> None:
    upright = Image.new("RGB", (640, 400), (20, 20, 20))
    drawn = (200, 120, 440, 300)
    upright.paste((255, 255, 255), drawn)
    image, exif = stored(upright, orientation)
    data = encoded(image, "PNG", exif=exif)
    pixels, geometry = to_model_pixels(data, header_of(data), rule)
    y, x = np.nonzero((pixels > 200).all(axis=2))
    seen = np.array([[x.min(), y.min(), x.max() + 1, y.max() + 1]]) / np.array(geometry.model_hw[::-1] * 2)
    # What is found in the model's pixels is known to one of them.
    assert np.abs(geometry.boxes_to_image_px(seen) - drawn).max() <= max(geometry.scale_yx)


def test_things_come_surest_first_with_names_and_pixels() -> None:
    found = find(outputs(((0.1, 0.2, 0.5, 0.6), 0.4, 0), ((0, 0, 1, 1), 0.8, 2)), as_is(), NAMES, EVERYTHING)
    assert [(f.label, f.class_id, f.slot) for f in found] == [("traffic light", 2, 1), ("person", 0, 0)]
    assert found[1].box == pytest.approx((10, 20, 50, 60), abs=1e-4)
    assert found[1].score == pytest.approx(0.4)


def test_what_is_not_wanted_is_left_out() -> None:
    arrays = outputs(((0, 0, 1, 1), 0.9, 0), ((0, 0, 1, 1), 0.5, 1), ((0, 0, 1, 1), 0.2, 0))
    assert [f.slot for f in find(arrays, as_is(), NAMES, Wanted(0.5, 9))] == [0, 1], "the threshold itself is in"
    assert [f.slot for f in find(arrays, as_is(), NAMES, Wanted(0.0, 2))] == [0, 1]
    assert [f.slot for f in find(arrays, as_is(), NAMES, Wanted(0.0, 9, frozenset({0})))] == [0, 2]


def test_a_score_reads_as_one_would_write_it_and_asking_for_just_that_much_finds_it() -> None:
    arrays = outputs(((0.1, 0.2, 0.5, 0.6), 0.6087, 0), ((0, 0, 1, 1), 0.6086, 1))
    assert float(arrays["scores"][0]) != 0.6087, "a float32 is not: the test would show nothing"
    assert [f.score for f in find(arrays, as_is(), NAMES, EVERYTHING)] == [0.6087, 0.6086]
    assert [f.slot for f in find(arrays, as_is(), NAMES, Wanted(0.6087, 9))] == [0]


def test_empty_slots_are_nothing_even_at_threshold_zero_and_whatever_they_hold() -> None:
    arrays = outputs()
    arrays["boxes"][:] = math.nan
    arrays["classes"][:] = 77
    assert find(arrays, as_is(), NAMES, EVERYTHING) == []


def test_boxes_are_clipped_and_those_in_the_padding_are_not_there() -> None:
    geometry = Geometry((50, 100), (100, 100), (1.0, 1.0), (-25.0, 0.0))  # 25 rows of padding above and below
    arrays = outputs(((-0.1, 0.0, 0.5, 0.9), 0.9, 0), ((0.2, 0.0, 0.8, 0.2), 0.8, 0))
    (found,) = find(arrays, geometry, NAMES, EVERYTHING)
    assert found.box == pytest.approx((0, 0, 50, 50), abs=1e-4)


@pytest.mark.parametrize(
    ("name", "value"), [("scores", math.nan), ("boxes", math.inf), ("classes", 3), ("classes", -1)]
)
def test_what_makes_no_sense_is_the_model_s_failure(name: str, value: float) -> None:
    arrays = outputs(((0, 0, 1, 1), 0.9, 0))
    arrays[name][0] = value
    with pytest.raises(EngineFailed):
        find(arrays, as_is(), NAMES, EVERYTHING)


def test_classes_are_named_in_any_case_with_or_without_spaces() -> None:
    assert class_ids(None, NAMES, "m") is None
    assert class_ids("dog", NAMES, "m") == frozenset({1})
    assert class_ids("Person, traffic LIGHT", NAMES, "m") == frozenset({0, 2})


@pytest.mark.parametrize("classes", ["cat", "person,", ",", " ", "0", "person;dog"])
def test_a_class_that_the_model_does_not_know_is_refused_with_those_it_knows(classes: str) -> None:
    with pytest.raises(InvalidParameter, match="person, dog, traffic light") as raised:
        class_ids(classes, NAMES, "m")
    assert raised.value.field == "classes"


# --- maps


@pytest.mark.parametrize("rule", RULES[1:], ids=lambda rule: rule.mode)
def test_every_pixel_takes_the_class_below_its_centre(rule: ResizeRule) -> None:
    data = encoded(Image.new("RGB", (123, 77)), "PNG")
    _, geometry = to_model_pixels(data, header_of(data), rule)
    small = np.random.default_rng(0).integers(0, 9, rule.size_hw).astype(np.uint8)
    large = map_to_image(small, geometry, UNSEEN)
    assert large.shape == (77, 123)
    for y, x in [(0, 0), (76, 122), (38, 61), (10, 100)]:
        at = geometry.boxes_to_model_01(np.array([[x + 0.5, y + 0.5] * 2]))[0, :2] * rule.size_hw[::-1]
        assert large[y, x] == small[int(at[1]), int(at[0])]


def test_what_the_crop_cut_off_is_unseen() -> None:
    data = encoded(Image.new("RGB", (200, 100)), "PNG")
    _, geometry = to_model_pixels(data, header_of(data), ResizeRule("crop", (50, 50), "bilinear", 50))
    large = map_to_image(np.zeros((50, 50), np.uint8), geometry, UNSEEN)
    assert (large[:, 50:150] == 0).all()
    assert (large[:, :49] == UNSEEN).all()
    assert (large[:, 151:] == UNSEEN).all()


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint8])
def test_maps_of_any_whole_numbers_are_taken(dtype: Any) -> None:
    values = np.arange(100, dtype=dtype).reshape(10, 10)
    assert np.array_equal(map_to_image(values, as_is(10), UNSEEN), values)


def test_a_class_without_a_name_is_the_model_s_failure() -> None:
    with pytest.raises(EngineFailed):
        check_classes(np.array([[0, 3]], np.uint8), NAMES)
    with pytest.raises(EngineFailed):
        map_to_image(np.array([[256]]), as_is(1), UNSEEN)
    check_classes(np.array([[0, 2, UNSEEN]], np.uint8), NAMES)


# --- masks of things


def detection(slot: int = 0) -> Detection:
    return Detection("person", 0, 0.9, (0, 0, 1, 1), slot)


@settings(max_examples=60, deadline=None)
@given(left=st.integers(0, 60), top=st.integers(0, 60), w=st.integers(1, 39), h=st.integers(1, 39))
def test_a_mask_in_a_box_of_whole_pixels_is_torch_s_bilinear_resize(left: int, top: int, w: int, h: int) -> None:
    values = np.random.default_rng(left * 61 + top).random((1, 7, 5)).astype(np.float32)
    box = np.array([[left, top, left + w, top + h]], np.float32) / 100
    (mask,) = paste_masks({"boxes": box, "masks": values}, as_is(), [detection()])
    resized = torch.nn.functional.interpolate(torch.from_numpy(values[None]), (h, w), mode="bilinear")[0, 0].numpy()
    expected = np.zeros((100, 100), dtype=bool)
    expected[top : top + h, left : left + w] = resized > 0.5
    sure = np.ones((100, 100), dtype=bool)
    sure[top : top + h, left : left + w] = np.abs(resized - 0.5) > 1e-3
    assert np.array_equal(mask.whole()[sure], expected[sure])


def test_a_mask_whose_box_leaves_the_picture_is_cut_and_not_squeezed() -> None:
    box = np.array([[-0.5, 0.25, 0.5, 0.75]], np.float32)
    halves = np.zeros((1, 28, 28), np.float32)
    halves[:, :, 21:] = 1.0  # the right quarter of the box: the right half of what is inside the picture
    (mask,) = paste_masks({"boxes": box, "masks": halves}, as_is(), [detection()])
    y, x = np.nonzero(mask.whole())
    assert (y.min(), y.max()) == (25, 74)
    assert (x.min(), x.max()) == (25, 49)


def test_masks_belong_to_the_slots_of_their_things() -> None:
    boxes = np.array([[0, 0, 0.1, 0.1], [0, 0, 0, 0], [0.5, 0.5, 0.6, 0.6]], np.float32)
    masks = np.ones((3, 4, 4), np.float32)
    pasted = list(paste_masks({"boxes": boxes, "masks": masks}, as_is(), [detection(2), detection(0)]))
    assert [mask.top_left for mask in pasted] == [(50, 50), (0, 0)]
    assert [mask.area_px for mask in pasted] == [100, 100]


def test_masks_that_are_no_numbers_are_the_model_s_failure() -> None:
    with pytest.raises(EngineFailed):
        paste_masks({"boxes": np.ones((1, 4)), "masks": np.full((1, 2, 2), math.nan)}, as_is(), [detection()])


# --- the picture itself


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_upright_picture_is_upright_and_whole(orientation: int) -> None:
    upright = photograph("coffee").resize((61, 43))
    image, exif = stored(upright, orientation)
    data = encoded(image, "PNG", exif=exif)
    assert np.array_equal(np.asarray(to_upright(data, header_of(data))), np.asarray(upright))


def test_a_large_jpeg_is_decoded_in_its_own_size() -> None:
    data = encoded(Image.new("RGB", (3000, 2000), (9, 99, 199)))
    assert to_upright(data, header_of(data)).size == (3000, 2000)
    assert Image.open(io.BytesIO(data)).size == (3000, 2000)
