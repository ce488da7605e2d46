"""Masks as they travel: pycocotools decodes our run lengths to our mask, even-odd filled polygons are the mask."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

from service.masks import Mask, map_runs, pixels_of_rle, png_of_map, png_of_mask, polygons, rle_counts
from service.outlines import outlines, simplified

# pycocotools was compiled for NumPy 1.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Bits = NDArray[np.bool_]


@st.composite
def masks(draw: st.DrawFn) -> Mask:
    """A rectangle of random pixels, or of nothing, or of everything, somewhere in a small picture."""
    height, width = draw(st.integers(1, 14)), draw(st.integers(1, 14))
    h, w = draw(st.integers(0, height)), draw(st.integers(0, width))
    top, left = draw(st.integers(0, height - h)), draw(st.integers(0, width - w))
    share = draw(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]))
    pixels = np.random.default_rng(draw(st.integers(0, 2**32))).random((h, w)) < share
    return Mask((height, width), (top, left), pixels)


def coco_counts(pixels: Bits) -> str:
    counts: bytes = coco.encode(np.asfortranarray(pixels.astype(np.uint8)))["counts"]
    return counts.decode()


def filled(rings: list[NDArray[np.int64]], shape: tuple[int, int]) -> Bits:
    """Even-odd: a pixel is inside if a ray from its centre to the left crosses an odd number of edges."""
    crossed = np.zeros(shape, dtype=int)
    for ring in rings:
        for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            assert (x0 == x1) != (y0 == y1), "along the edges of pixels, one after the other"
            if x0 == x1:
                crossed[min(y0, y1) : max(y0, y1), x0:] += 1
    odd: Bits = crossed % 2 == 1
    return odd


@settings(max_examples=300, deadline=None)
@given(mask=masks())
def test_run_lengths_are_those_of_pycocotools(mask: Mask) -> None:
    counts = rle_counts(mask)
    assert counts == coco_counts(mask.whole())
    decoded = coco.decode({"size": list(mask.image_hw), "counts": counts})
    assert np.array_equal(decoded.astype(bool), mask.whole())
    assert np.array_equal(pixels_of_rle(mask.image_hw, counts), mask.whole())


def test_long_runs_need_several_characters_and_still_decode() -> None:
    pixels = np.zeros((2000, 1500), dtype=bool)
    pixels[100:1900, 3:1400] = True
    pixels[:, 1450:] = True
    assert rle_counts(Mask((2000, 1500), (0, 0), pixels)) == coco_counts(pixels)
    assert np.array_equal(pixels_of_rle((2000, 1500), coco_counts(pixels)), pixels)


@pytest.mark.parametrize("counts", ["", "é", "o", "0", "1", "/", "ooooooooo0", "9" * 5], ids=repr)
def test_run_lengths_of_another_size_or_none_at_all_are_refused(counts: str) -> None:
    with pytest.raises(ValueError, match=r"run lengths|ascii"):
        pixels_of_rle((3, 4), counts)


@settings(max_examples=200, deadline=None)
@given(height=st.integers(1, 12), width=st.integers(1, 12), values=st.integers(1, 5), seed=st.integers(0, 2**32))
def test_each_value_of_a_map_has_its_run_lengths_area_and_box(height: int, width: int, values: int, seed: int) -> None:
    class_map = np.random.default_rng(seed).integers(0, values, (height, width)).astype(np.uint8)
    runs = map_runs(class_map)
    assert runs.present() == sorted(set(class_map.ravel().tolist()))
    for value in runs.present():
        mine = class_map == value
        assert runs.rle_counts(value) == coco_counts(mine)
        assert runs.area_px(value) == mine.sum()
        y, x = np.nonzero(mine)
        assert runs.box(value) == (x.min(), y.min(), x.max() + 1, y.max() + 1)


@settings(max_examples=200, deadline=None)
@given(mask=masks())
def test_outlines_filled_by_the_even_odd_rule_are_exactly_the_mask(mask: Mask) -> None:
    assert np.array_equal(filled(outlines(mask.pixels), mask.pixels.shape), mask.pixels)


def test_pixels_that_touch_at_a_corner_have_an_outline_each_and_a_hole_has_its_own() -> None:
    for diagonal in (np.eye(2, dtype=bool), np.eye(2, dtype=bool)[::-1]):
        assert [len(ring) for ring in outlines(diagonal)] == [4, 4]
    frame = np.ones((5, 5), dtype=bool)
    frame[2, 2] = False
    assert sorted(len(ring) for ring in outlines(frame)) == [4, 4]


@settings(max_examples=60, deadline=None)
@given(mask=masks(), tolerance=st.floats(0.0, 3.0))
def test_simplifying_leaves_out_nothing_that_is_farther_than_the_tolerance(mask: Mask, tolerance: float) -> None:
    for ring in outlines(mask.pixels):
        fewer = simplified(ring, tolerance)
        assert 3 <= len(fewer) <= len(ring)
        ends = np.roll(fewer, -1, axis=0)
        for point in ring:
            assert min(distance(point, a, b) for a, b in zip(fewer, ends, strict=True)) <= tolerance + 1e-9


def distance(point: NDArray[np.int64], start: NDArray[np.int64], end: NDArray[np.int64]) -> float:
    along = (end - start).astype(float)
    share = np.clip((point - start) @ along / max(1e-12, float(along @ along)), 0, 1)
    return float(np.linalg.norm(point - start - share * along))


def test_polygons_lie_where_the_mask_does() -> None:
    mask = Mask((40, 50), (10, 20), np.ones((5, 8), dtype=bool))
    (ring,) = polygons(mask)
    points = np.array(ring).reshape(-1, 2)
    assert sorted(map(tuple, points.tolist())) == [(20, 10), (20, 15), (28, 10), (28, 15)]


def test_a_mask_as_png_is_white_where_it_is() -> None:
    mask = Mask((7, 9), (1, 2), np.array([[True, False], [True, True]]))
    image = Image.open(io.BytesIO(png_of_mask(mask)))
    assert image.size == (9, 7)
    assert np.array_equal(np.asarray(image.convert("L")) == 255, mask.whole())


def test_a_map_as_png_keeps_its_values_and_has_its_colours() -> None:
    values = np.array([[0, 1], [255, 2]], np.uint8)
    palette = np.random.default_rng(0).integers(0, 256, (256, 3)).astype(np.uint8)
    image = Image.open(io.BytesIO(png_of_map(values, palette)))
    assert image.mode == "P"
    assert np.array_equal(np.asarray(image), values)
    assert np.array_equal(np.asarray(image.convert("RGB")), palette[values])


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (2, 2)])
def test_an_empty_mask_is_no_error(shape: tuple[int, int]) -> None:
    mask = Mask((4, 6), (1, 1), np.zeros(shape, dtype=bool))
    assert mask.area_px == 0
    assert rle_counts(mask) == coco_counts(np.zeros((4, 6), dtype=bool))
    assert polygons(mask) == []
