"""Bytes → the model's pixels: the same as torchvision's, upright whatever the camera said, and the way back."""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as torchvision

from service.errors import BadImage, TooLarge, UnsupportedMedia
from service.image_header import ImageHeader, jpeg_shrink
from service.images import Geometry, to_model_pixels
from service.manifest import ResizeRule
from tests.pictures import PHOTOGRAPHS, encoded, header_of, photograph, png, png_chunk, stored

# Pillow warns of damaged metadata; the service silences that where it reads pictures.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

CROP = ResizeRule("crop", (224, 224), "bicubic", 256)
SQUASH = ResizeRule("squash", (64, 96))
LETTERBOX = ResizeRule("letterbox", (128, 160))
RULES = [CROP, SQUASH, LETTERBOX]
ORIENTATIONS = list(range(1, 9))

Pixels = NDArray[np.uint8]


def pixels_of(data: bytes, rule: ResizeRule) -> Pixels:
    return to_model_pixels(data, header_of(data), rule)[0]


def as_is(image: Image.Image) -> ResizeRule:
    """The rule that leaves the picture's size alone."""
    return ResizeRule("squash", (image.height, image.width))


def apart(one: Pixels, other: Pixels) -> NDArray[np.int64]:
    return np.abs(one.astype(np.int64) - other.astype(np.int64))


def reference_crop(image: Image.Image, rule: ResizeRule) -> Pixels:
    """torchvision's own Resize and CenterCrop."""
    resized = torchvision.resize(image, [rule.shorter_side_px], InterpolationMode(rule.interpolation))
    return np.asarray(torchvision.center_crop(resized, list(rule.size_hw)))


# --- the same pixels as the reference


@pytest.mark.parametrize("name", PHOTOGRAPHS)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(224, 256), (240, 260)])
def test_crop_is_torchvision_s_within_one_level(name: str, interpolation: Any, size: tuple[int, int]) -> None:
    rule = ResizeRule("crop", (size[0], size[0]), interpolation, size[1])
    image = photograph(name)
    assert apart(pixels_of(encoded(image, "PNG"), rule), reference_crop(image, rule)).max() <= 1


@settings(max_examples=40, deadline=None)
@given(
    width=st.integers(1, 700),
    height=st.integers(1, 700),
    crop=st.integers(8, 64),
    margin=st.integers(0, 17),
    wide=st.integers(0, 9),
)
def test_crop_is_torchvision_s_at_any_size(width: int, height: int, crop: int, margin: int, wide: int) -> None:
    rule = ResizeRule("crop", (crop, crop + wide), "bilinear", crop + wide + margin)
    image = photograph("rocket").resize((width, height))
    if max(width, height) > 40 * min(width, height):
        return  # the reference would first make a picture of tens of megapixels
    difference = apart(pixels_of(encoded(image, "PNG"), rule), reference_crop(image, rule))
    assert difference.max() <= 2, "each of the two passes may round one level the other way"
    assert difference.mean() < 0.5


def test_a_picture_of_10000_by_8_is_cut_from_its_centre() -> None:
    row = np.linspace(0, 255, 10_000).astype(np.uint8)
    image = Image.fromarray(np.broadcast_to(row[None, :, None], (8, 10_000, 3)).copy())
    pixels = pixels_of(encoded(image, "PNG"), CROP)
    assert pixels.shape == (224, 224, 3)
    assert apart(pixels, np.full_like(pixels, 127)).max() <= 1


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (2, 3), (16_384, 1)])
def test_extreme_shapes_come_out_in_the_model_s_size(rule: ResizeRule, size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, (10, 200, 30))
    pixels, geometry = to_model_pixels(data := encoded(image, "PNG"), header_of(data), rule)
    assert pixels.shape == (*rule.size_hw, 3)
    assert geometry.image_hw == (size[1], size[0])
    inside = (pixels == (10, 200, 30)).all(axis=2)  # (H, W)
    assert inside.any()
    assert rule.mode == "letterbox" or inside.all()


def test_squash_is_pillow_s_resize() -> None:
    image = photograph()
    expected = np.asarray(image.resize((96, 64), Image.Resampling.BILINEAR))
    assert np.array_equal(pixels_of(encoded(image, "PNG"), SQUASH), expected)


def test_letterbox_keeps_the_shape_and_pads_evenly_with_grey() -> None:
    image = Image.new("RGB", (200, 100), (255, 0, 0))
    pixels, geometry = to_model_pixels(
        data := encoded(image, "PNG"), header_of(data), ResizeRule("letterbox", (64, 64))
    )
    assert (pixels[16:48] == (255, 0, 0)).all()
    assert (pixels[:16] == 114).all()
    assert (pixels[48:] == 114).all()
    assert geometry.scale_yx == (3.125, 3.125)
    assert geometry.offset_yx == (-50.0, 0.0)


@pytest.mark.parametrize("rule", RULES)
def test_pixels_are_ready_for_an_engine(rule: ResizeRule) -> None:
    pixels = pixels_of(encoded(photograph()), rule)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous


# --- orientation


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_a_turned_lossless_picture_gives_exactly_the_upright_one_s_pixels(
    rule: ResizeRule, orientation: int, format: str
) -> None:
    upright = photograph("coffee").resize((301, 203))
    turned, exif = stored(upright, orientation)
    data = encoded(turned, format, exif=exif, **({"lossless": True} if format == "WEBP" else {}))
    pixels, geometry = to_model_pixels(data, header_of(data), rule)
    expected, expected_geometry = to_model_pixels(plain := encoded(upright, "PNG"), header_of(plain), rule)
    assert apart(pixels, expected).max() <= 1, "only the order in which Pillow resizes the two sides may differ"
    assert geometry == expected_geometry


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_turning_alone_changes_no_pixel(orientation: int) -> None:
    upright = photograph("coffee").resize((61, 43))
    turned, exif = stored(upright, orientation)
    assert np.array_equal(pixels_of(encoded(turned, "PNG", exif=exif), as_is(upright)), np.asarray(upright))


def test_png_may_say_its_orientation_after_the_pixels() -> None:
    upright = photograph("coffee").resize((61, 43))
    turned, exif = stored(upright, 6)
    data = encoded(turned, "PNG")
    late = png_chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    data = data[:-12] + late + data[-12:]
    assert np.array_equal(pixels_of(data, as_is(upright)), np.asarray(upright))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("enlarged", [1, 2, 4])
def test_a_turned_jpeg_gives_the_upright_one_s_pixels_also_when_decoded_small(orientation: int, enlarged: int) -> None:
    rule = ResizeRule("crop", (56, 56), "bilinear", 64)
    size = (153 * enlarged + 3, 131 * enlarged + 1)  # no multiple of 8: the decoder rounds up
    upright = photograph("astronaut").resize(size, Image.Resampling.BICUBIC)
    turned, exif = stored(upright, orientation)
    data = encoded(turned, quality=95, exif=exif)
    assert jpeg_shrink(header_of(data), rule) == enlarged
    difference = apart(pixels_of(data, rule), pixels_of(encoded(upright, "PNG"), rule))
    assert difference.mean() < 2.0
    assert np.percentile(difference, 99) <= 12


@pytest.mark.parametrize("value", [0, 9, 77, 65535])
def test_an_orientation_that_does_not_exist_is_none(value: int) -> None:
    image = photograph().resize((30, 20))
    exif = Image.Exif()
    exif[0x0112] = value
    assert np.array_equal(pixels_of(encoded(image, "PNG", exif=exif), as_is(image)), np.asarray(image))


@pytest.mark.parametrize(
    "block", [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"]
)
def test_a_damaged_exif_block_harms_nobody(block: bytes) -> None:
    data = encoded(photograph())
    damaged = data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:]
    assert np.array_equal(pixels_of(damaged, CROP), pixels_of(data, CROP))


# --- colour


def test_cmyk_is_converted() -> None:
    image = photograph()
    data = encoded(image.convert("CMYK"), quality=95)
    assert apart(pixels_of(data, CROP), pixels_of(encoded(image, quality=95), CROP)).mean() < 3


def test_16_bit_grey_is_scaled_not_clipped() -> None:
    levels = np.linspace(0, 65_535, 64 * 64).reshape(64, 64)
    image = Image.fromarray(levels.astype(np.uint16))
    assert image.mode == "I;16"
    pixels = pixels_of(encoded(image, "PNG"), as_is(image))
    assert apart(pixels[..., 0], (levels / 257).round().astype(np.uint8)).max() <= 1
    assert (pixels[..., 0] == pixels[..., 2]).all()


def test_16_bit_grey_with_a_transparent_level_is_white_there() -> None:
    image = Image.fromarray(np.array([[0, 160], [40_000, 65_535]], np.uint16))
    data = encoded(image, "PNG")
    data = data[:33] + png_chunk(b"tRNS", struct.pack(">H", 160)) + data[33:]
    assert pixels_of(data, as_is(image))[..., 0].tolist() == [[0, 255], [156, 255]]


@pytest.mark.parametrize("mode", ["L", "1"])
def test_grey_is_the_same_in_all_three_channels(mode: str) -> None:
    image = photograph().convert(mode).resize((50, 40))
    expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(pixels_of(encoded(image, "PNG"), as_is(image)), expected)


def test_grey_jpeg_is_decoded() -> None:
    grey = photograph().convert("L")
    pixels = pixels_of(encoded(grey, quality=95), as_is(grey))
    assert apart(pixels, np.asarray(grey.convert("RGB"))).mean() < 2


@pytest.mark.parametrize(("format", "options"), [("PNG", {}), ("WEBP", {"lossless": True, "exact": True})])
def test_transparency_is_laid_over_white(format: str, options: dict[str, Any]) -> None:
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[0, 0] = (255, 0, 0, 255)
    rgba[0, 1] = (255, 0, 0, 0)
    rgba[1, 0] = (0, 0, 0, 0)
    rgba[1, 1] = (0, 0, 0, 128)
    image = Image.fromarray(rgba)
    pixels = pixels_of(encoded(image, format, **options), as_is(image))
    assert pixels[0, 0].tolist() == [255, 0, 0]
    assert pixels[0, 1].tolist() == [255, 255, 255]
    assert pixels[1, 0].tolist() == [255, 255, 255]
    assert abs(int(pixels[1, 1, 0]) - 127) <= 1


def test_grey_with_alpha_is_laid_over_white() -> None:
    image = Image.fromarray(np.array([[[0, 0], [0, 255]], [[90, 0], [90, 255]]], np.uint8), "LA")
    pixels = pixels_of(encoded(image, "PNG"), as_is(image))
    assert pixels[..., 1].tolist() == [[255, 0], [255, 90]]


def test_a_palette_is_resolved() -> None:
    image = photograph().resize((64, 48)).quantize(32)
    expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(pixels_of(encoded(image, "PNG"), as_is(image)), expected)


@pytest.mark.parametrize("transparency", [0, b"\x00\xff\xff"])
def test_a_transparent_palette_entry_is_white(transparency: int | bytes) -> None:
    image = Image.fromarray(np.array([[0, 1], [2, 0]], np.uint8), "P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    pixels = pixels_of(encoded(image, "PNG", transparency=transparency), as_is(image))
    assert pixels.reshape(4, 3).tolist() == [[255] * 3, [0, 255, 0], [0, 0, 255], [255] * 3]


def test_a_transparent_colour_of_a_truecolour_png_is_white() -> None:
    image = Image.fromarray(np.array([[[1, 2, 3], [9, 9, 9]]], np.uint8))
    assert pixels_of(encoded(image, "PNG", transparency=(1, 2, 3)), as_is(image)).tolist() == [[[255] * 3, [9] * 3]]


@pytest.mark.parametrize(("format", "options"), [("WEBP", {"lossless": True}), ("PNG", {})])
def test_of_an_animation_the_first_frame_counts(format: str, options: dict[str, Any]) -> None:
    first, second = photograph().resize((60, 40)), photograph("rocket").resize((60, 40))
    data = encoded(first, format, save_all=True, append_images=[second], duration=100, **options)
    assert np.array_equal(pixels_of(data, as_is(first)), np.asarray(first))


def test_of_a_multi_picture_jpeg_the_first_one_counts() -> None:
    first, second = photograph(), photograph("rocket")
    data = encoded(first, "MPO", save_all=True, append_images=[second])
    assert apart(pixels_of(data, CROP), pixels_of(encoded(first, "PNG"), CROP)).mean() < 4


# --- decoding small


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_a_12_megapixel_jpeg_decoded_small_is_the_full_one_within_tolerance(options: dict[str, Any]) -> None:
    image = photograph("astronaut").resize((4001, 3003), Image.Resampling.BICUBIC)
    data = encoded(image, quality=92, **options)
    assert jpeg_shrink(header_of(data), CROP) == 4
    with Image.open(io.BytesIO(data)) as opened:
        full = reference_crop(opened.convert("RGB"), CROP)
    difference = apart(pixels_of(data, CROP), full)
    assert difference.mean() < 1.0
    assert np.percentile(difference, 99.9) <= 8


# --- what cannot be decoded


@pytest.mark.parametrize(
    ("format", "options"),
    [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("WEBP", {}), ("WEBP", {"lossless": True})],
)
def test_a_truncated_picture_is_a_bad_image_wherever_it_ends(format: str, options: dict[str, Any]) -> None:
    data = encoded(photograph().resize((90, 60)), format, **options)
    for length in range(1, len(data) - 20, max(1, len(data) // 20)):
        with pytest.raises((BadImage, UnsupportedMedia)):
            pixels_of(data[:length], SQUASH)


def test_what_pillow_says_names_no_object() -> None:
    with pytest.raises(BadImage) as raised:
        pixels_of(png(10, 10), SQUASH)
    assert "0x" not in raised.value.detail
    assert "<" not in raised.value.detail


def test_a_second_size_inside_the_file_is_refused_before_it_is_believed() -> None:
    bomb = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0))
    with pytest.raises(BadImage):
        pixels_of(png(10, 10, chunks=bomb), SQUASH)


SEEDS = [
    encoded(turned, format, **({"exif": exif} | options))
    for turned, exif in [stored(photograph().resize((60, 40)), 6)]
    for format, options in [
        *[("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("WEBP", {}), ("WEBP", {"lossless": True})]
    ]
]


@settings(max_examples=250, deadline=None)
@given(
    data=st.sampled_from(SEEDS),
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=6),
    early=st.booleans(),
    rule=st.sampled_from([SQUASH, ResizeRule("crop", (24, 24), "bilinear", 28)]),
)
def test_mutated_pictures_decode_or_raise_our_errors(
    data: bytes, changes: list[tuple[int, int]], early: bool, rule: ResizeRule
) -> None:
    mutated = bytearray(data)
    for at, byte in changes:
        mutated[at % (200 if early else len(mutated))] = byte
    with suppress(BadImage, UnsupportedMedia, TooLarge):
        header = header_of(bytes(mutated))
        if header.pixels < 10**6:
            pixels, geometry = to_model_pixels(bytes(mutated), header, rule)
            assert pixels.shape == (*rule.size_hw, 3)
            assert sorted(geometry.image_hw) == sorted((header.height, header.width))


# --- the way back


def geometry_of(width: int, height: int, orientation: int, rule: ResizeRule) -> Geometry:
    turned, exif = stored(Image.new("RGB", (width, height)), orientation)
    data = encoded(turned, "PNG", exif=exif)
    return to_model_pixels(data, header_of(data), rule)[1]


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(1, 400),
    height=st.integers(1, 400),
    orientation=st.sampled_from(ORIENTATIONS),
    rule=st.sampled_from(RULES),
    corners=st.tuples(*[st.floats(0, 1) for _ in range(4)]),
)
def test_there_and_back_is_within_half_a_pixel(
    width: int, height: int, orientation: int, rule: ResizeRule, corners: tuple[float, float, float, float]
) -> None:
    geometry = geometry_of(width, height, orientation, rule)
    assert geometry.image_hw == (height, width)
    box = np.array([corners]) * [width, height, width, height]
    back = geometry.boxes_to_image_px(geometry.boxes_to_model_01(box))
    assert np.abs(back - box).max() <= 0.5


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("shrink", [1, 4])
def test_a_spot_seen_by_the_model_lies_where_it_was_in_the_picture(
    rule: ResizeRule, orientation: int, shrink: int
) -> None:
    """Not algebra against itself: the spot is found in the pixels."""
    width, height = (420 * shrink, 380 * shrink) if shrink == 1 else (420 * 4, 380 * 4)
    left, top, side = round(width * 0.4), round(height * 0.55), round(width * 0.1)
    upright = Image.new("RGB", (width, height), (0, 0, 255))
    upright.paste((255, 255, 0), (left, top, left + side, top + side))
    turned, exif = stored(upright, orientation)
    data = encoded(turned, "JPEG" if shrink > 1 else "PNG", exif=exif)
    pixels, geometry = to_model_pixels(data, header_of(data), rule)
    yellow = (pixels[..., 0] > 127) & (pixels[..., 2] < 100)  # (H, W)
    rows, columns = np.flatnonzero(yellow.any(1)), np.flatnonzero(yellow.any(0))
    model_hw = rule.size_hw
    box = np.array([[columns[0] / model_hw[1], rows[0] / model_hw[0]] * 2])
    box[0, 2:] = (columns[-1] + 1) / model_hw[1], (rows[-1] + 1) / model_hw[0]
    found = geometry.boxes_to_image_px(box)[0]
    tolerance_px = max(geometry.scale_yx)  # one pixel of the model's
    assert np.abs(found - [left, top, left + side, top + side]).max() <= tolerance_px


@pytest.mark.parametrize("rule", RULES)
def test_boxes_end_at_the_picture_s_edge(rule: ResizeRule) -> None:
    geometry = geometry_of(300, 200, 1, rule)
    boxes = geometry.boxes_to_image_px(np.array([[-1.0, -1.0, 2.0, 2.0], [0.4, 0.4, 0.6, 0.6]], np.float32))
    assert boxes[0].tolist() == [0, 0, 300, 200]
    assert (boxes[1] > 0).all()
    assert (boxes[1] < [300, 200, 300, 200]).all()


def test_no_boxes_are_no_boxes() -> None:
    assert geometry_of(30, 20, 1, CROP).boxes_to_image_px(np.zeros((0, 4))).shape == (0, 4)


def test_a_header_that_does_not_belong_to_the_data_is_refused() -> None:
    with pytest.raises(BadImage, match="header says"):
        to_model_pixels(encoded(photograph()), ImageHeader("jpeg", 7, 7), CROP)


@pytest.mark.parametrize("kind", [b"iCCP", b"zTXt", b"tRNS", b"gAMA", b"pHYs", b"iTXt"])
@pytest.mark.parametrize("length", range(6))
def test_a_chunk_of_too_few_bytes_is_read_over_or_a_bad_picture_never_a_bug(kind: bytes, length: int) -> None:
    image = Image.new("RGB", (8, 8), "red")
    whole, chunk = encoded(image, "PNG"), png_chunk(kind, bytes(length))
    for at in (33, len(whole) - 12):  # behind IHDR, before IEND
        with suppress(BadImage):
            assert (pixels_of(whole[:at] + chunk + whole[at:], as_is(image)) == [255, 0, 0]).all()
