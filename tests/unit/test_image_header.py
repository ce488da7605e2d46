"""What read_header says of a picture's first bytes; and that nothing but our errors ever comes out of it."""

from __future__ import annotations

import io
import struct
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from service.errors import BadImage, TooLarge, UnsupportedMedia
from service.image_header import ImageHeader, SizeLimits, jpeg_shrink, read_header
from service.manifest import ResizeRule
from tests.pictures import (
    LIMITS,
    PHOTOGRAPHS,
    encoded,
    header_of,
    jpeg_frame,
    jpeg_segment,
    photograph,
    png,
    png_chunk,
    stored,
)

SOI = b"\xff\xd8"
OURS = (BadImage, TooLarge, UnsupportedMedia)
FORMATS: list[tuple[str, dict[str, Any]]] = [
    ("JPEG", {}),
    ("JPEG", {"progressive": True}),
    ("JPEG", {"optimize": True, "quality": 30}),
    ("PNG", {}),
    ("WEBP", {}),
    ("WEBP", {"lossless": True}),
    ("WEBP", {"exif": stored(photograph(), 6)[1]}),  # VP8X
]
SMALL = [
    encoded(photograph().resize((37, 23)), format, **options)
    for format, options in [*FORMATS, ("JPEG", {"exif": stored(photograph(), 5)[1]})]
]


@pytest.mark.parametrize("name", PHOTOGRAPHS)
@pytest.mark.parametrize(("format", "options"), FORMATS)
def test_size_and_format_are_those_that_pillow_sees(name: str, format: str, options: dict[str, Any]) -> None:
    data = encoded(photograph(name), format, **options)
    with Image.open(io.BytesIO(data)) as opened:
        width, height = opened.size
    progressive = options.get("progressive", False)
    assert header_of(data) == ImageHeader(format.lower(), width, height, progressive)  # type: ignore[arg-type]


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 999), (999, 1), (3, 2), (255, 256), (257, 511)])
@pytest.mark.parametrize(("format", "options"), FORMATS)
def test_odd_sizes_are_read_right(width: int, height: int, format: str, options: dict[str, Any]) -> None:
    header = header_of(encoded(Image.new("RGB", (width, height)), format, **options))
    assert (header.width, header.height) == (width, height)


@pytest.mark.parametrize("marker", sorted(set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}))
def test_every_start_of_frame_marker_is_understood(marker: int) -> None:
    header = header_of(SOI + jpeg_frame(marker, 300, 200))
    assert header == ImageHeader("jpeg", 300, 200, progressive=marker in (0xC2, 0xC6, 0xCA, 0xCE))


@pytest.mark.parametrize("marker", [0xC4, 0xC8, 0xCC])
def test_tables_that_look_like_frames_are_passed_over(marker: int) -> None:
    decoy = jpeg_segment(marker, struct.pack(">BHHB", 8, 9999, 9999, 3))
    assert header_of(SOI + decoy + jpeg_frame(0xC0, 300, 200)).width == 300


def test_the_thumbnail_inside_exif_is_not_the_picture() -> None:
    thumbnail = SOI + jpeg_frame(0xC0, 16, 12)
    data = SOI + jpeg_segment(0xE1, b"Exif\0\0" + thumbnail) + jpeg_frame(0xC0, 300, 200)
    assert header_of(data).width == 300


@pytest.mark.parametrize(
    "between",
    [
        b"\xff" * 7,  # fill bytes
        b"\x00\x13\x37",  # stray bytes, which decoders report and pass over
        b"\xff\x00",  # an escaped FF
        jpeg_segment(0xFE, b"") + jpeg_segment(0xE0, bytes(60_000)),
    ],
)
def test_what_decoders_pass_over_is_passed_over(between: bytes) -> None:
    data = encoded(photograph(), "JPEG")
    after_jfif = 20
    odd = data[:after_jfif] + between + data[after_jfif:]
    assert header_of(odd) == header_of(data)
    with Image.open(io.BytesIO(odd)) as opened:
        opened.load()


@pytest.mark.parametrize("filling", [b"\xff", b"\xff\xd0", b"\xff\xe0\x00\x02", b"\x00", b"\xff\x00", b"\x00\xff"])
def test_ten_megabytes_of_markers_do_not_keep_anybody_waiting(filling: bytes) -> None:
    data = SOI + filling * (10_000_000 // len(filling))
    started_s = time.perf_counter()
    with pytest.raises(BadImage):
        header_of(data)
    assert time.perf_counter() - started_s < 0.5, "this runs on the event loop"


@pytest.mark.parametrize("data", SMALL)
def test_cut_off_anywhere_it_is_our_error_or_the_true_size(data: bytes) -> None:
    whole = header_of(data)
    for length in range(len(data)):
        with suppress(BadImage, *([UnsupportedMedia] if length < 12 else [])):  # by then the format can be told
            assert header_of(data[:length]) == whole


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=400), start=st.sampled_from([b"", SOI, b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP"]))
def test_random_bytes_raise_nothing_but_our_errors(data: bytes, start: bytes) -> None:
    with suppress(*OURS):
        header = header_of(start + data)
        assert 1 <= header.width <= LIMITS.max_side_px
        assert 1 <= header.height <= LIMITS.max_side_px
        assert header.pixels <= LIMITS.max_pixels


@settings(max_examples=300, deadline=None)
@given(
    data=st.sampled_from(SMALL),
    changes=st.lists(st.tuples(st.integers(0, 150), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_mutated_pictures_raise_nothing_but_our_errors(data: bytes, changes: list[tuple[int, int]]) -> None:
    mutated = bytearray(data)
    for at, byte in changes:
        mutated[at % len(mutated)] = byte
    with suppress(*OURS):
        header_of(bytes(mutated))


def test_no_bytes_are_a_bad_image() -> None:
    with pytest.raises(BadImage, match=r"image is empty \(0 bytes\)"):
        header_of(b"")


@pytest.mark.parametrize(
    "data",
    [b"hello, world", b"GIF89a" + bytes(20), b"BM" + bytes(60), b"<svg/>", b"\0", b"RIFF\0\0\0\0WAVE" + bytes(9)],
)
def test_what_is_none_of_the_three_formats_is_unsupported(data: bytes) -> None:
    with pytest.raises(UnsupportedMedia):
        header_of(data)


@pytest.mark.parametrize(
    "data", [SOI + b"\xff\xff\x00 text", SOI + b"no marker", b"RIFF\0\0\0\0WEBPALPH" + bytes(30), SOI]
)
@pytest.mark.parametrize("field", ["image", "images[3]"])
def test_the_error_names_the_picture_that_is_damaged(data: bytes, field: str) -> None:
    with pytest.raises(BadImage) as raised:
        read_header(data, LIMITS, field=field)
    assert raised.value.field == field
    assert raised.value.detail.startswith(field)


def test_a_png_that_does_not_begin_with_its_size_is_a_bad_image() -> None:
    apple_s_own = b"\x89PNG\r\n\x1a\n" + png_chunk(b"CgBI", bytes(4)) + png(10, 10)[8:]
    with pytest.raises(BadImage, match="damaged PNG"):
        header_of(apple_s_own)


@pytest.mark.parametrize("data", [png(0, 10), png(10, 0), SOI + jpeg_frame(0xC0, 10, 0), SOI + jpeg_frame(0xC0, 0, 9)])
def test_a_side_of_nothing_is_a_bad_image(data: bytes) -> None:
    with pytest.raises(BadImage, match="pixels"):
        header_of(data)


@pytest.mark.parametrize(
    ("width", "height", "limit"),
    [
        (20_000, 20_000, "16384 px a side"),
        (16_385, 1, "16384 px a side"),
        (1, 16_385, "16384 px a side"),
        (2**31 - 1, 2**31 - 1, "16384 px a side"),
        (10_000, 5_001, "50000000 px"),
    ],
)
def test_beyond_a_limit_the_error_names_it(width: int, height: int, limit: str) -> None:
    with pytest.raises(TooLarge) as raised:
        header_of(png(width, height))
    assert raised.value.limit == limit


@pytest.mark.parametrize(("width", "height"), [(16_384, 1), (10_000, 5_000), (1, 16_384)])
def test_at_a_limit_it_is_accepted(width: int, height: int) -> None:
    assert header_of(png(width, height)).pixels == width * height


def test_limits_are_those_given() -> None:
    with pytest.raises(TooLarge):
        read_header(png(11, 1), SizeLimits(max_pixels=1000, max_side_px=10))


@pytest.mark.parametrize(
    ("width", "height", "shrink"),
    [
        (512, 512, 1),
        (1023, 4000, 1),
        (1024, 1024, 2),
        (2047, 9000, 2),
        (2048, 2048, 4),
        (4096, 4096, 8),
        (9999, 9999, 8),
    ],
)
def test_a_jpeg_is_decoded_at_least_twice_as_large_as_needed(width: int, height: int, shrink: int) -> None:
    rule = ResizeRule("crop", (224, 224), "bilinear", 256)
    assert jpeg_shrink(ImageHeader("jpeg", width, height), rule) == shrink
    assert jpeg_shrink(ImageHeader("png", width, height), rule) == 1
    assert shrink == 1 or min(width, height) / shrink >= 2 * 256
