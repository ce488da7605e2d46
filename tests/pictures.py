"""Pictures for tests: real photographs from the scikit-image wheel, and their bytes in any format."""

from __future__ import annotations

import io
import struct
import zlib
from functools import cache
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from service.image_header import ImageHeader, SizeLimits, read_header

LIMITS = SizeLimits(max_pixels=50_000_000, max_side_px=16_384)
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")

# What must be done to an upright picture so that a viewer that honours the orientation turns it upright again.
STORED_AS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@cache
def _photograph(name: str) -> Image.Image:
    from skimage import data

    return Image.fromarray(np.asarray(getattr(data, name)())).convert("RGB")


def photograph(name: str = "chelsea") -> Image.Image:
    """A photograph in 8-bit RGB: astronaut 512×512, chelsea 451×300, coffee 600×400, rocket 640×427 (W×H)."""
    return _photograph(name).copy()


def encoded(image: Image.Image, format: str = "JPEG", **options: Any) -> bytes:
    """The picture as a file of that format; `options` are Pillow's."""
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def stored(upright: Image.Image, orientation: int) -> tuple[Image.Image, Image.Exif]:
    """The picture as a camera held that way would store it, and the EXIF block that says so."""
    transpose = STORED_AS[orientation]
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return (upright if transpose is None else upright.transpose(transpose)), exif


def header_of(data: bytes) -> ImageHeader:
    return read_header(data, LIMITS)


def png(width: int, height: int, *, bit_depth: int = 8, colour: int = 2, chunks: bytes = b"") -> bytes:
    """A PNG that begins as it should: signature, IHDR of any size, `chunks`, and nothing that could be decoded."""
    ihdr = struct.pack(">IIBBBBB", width, height, bit_depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", ihdr) + chunks + png_chunk(b"IEND", b"")


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def jpeg_segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


def jpeg_frame(marker: int, width: int, height: int) -> bytes:
    """A start-of-frame segment of a picture with three components."""
    return jpeg_segment(marker, struct.pack(">BHHB", 8, height, width, 3) + bytes(9))
