"""What a picture's first bytes say, without decoding it: format, size, and what decoding will cost.

Read before anything is allocated: limits are judged, and the model is chosen, from these few numbers. A few dozen lines
of our own because opening a file with Pillow already inflates PNG text chunks and allocates WebP canvases.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Literal

from service.errors import BadImage, TooLarge, UnsupportedMedia
from service.manifest import ResizeRule

ImageFormat = Literal["jpeg", "png", "webp"]

# Start-of-frame markers: baseline, extended, progressive, lossless…; not DHT (C4), JPG (C8), DAC (CC).
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_STANDALONE = frozenset({0x00, 0x01, *range(0xD0, 0xDA)})
# Stray bytes between segments, and any number of FF before the last one of a marker: decoders pass over them.
_MARKER = re.compile(rb"\xff[^\xff]", re.DOTALL)
# Cameras write some dozen segments before the frame, colour profiles up to 255; a picture made of nothing but markers
# must not keep the event loop busy.
_MOST_JPEG_SEGMENTS = 4096


class _Damaged(Exception):
    """What is wrong with the picture, as the end of a sentence."""


@dataclass(frozen=True, slots=True)
class SizeLimits:
    """The largest picture accepted."""

    max_pixels: int
    max_side_px: int


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """width, height as stored, before EXIF orientation; `progressive` JPEGs take about twice as long to decode."""

    format: ImageFormat
    width: int
    height: int
    progressive: bool = False

    @property
    def pixels(self) -> int:
        return self.width * self.height


def read_header(data: bytes, limits: SizeLimits, *, field: str = "image") -> ImageHeader:
    """The picture's format and size.

    Raises BadImage (empty, or cut off inside the header), UnsupportedMedia (not JPEG, PNG or WebP by its first
    bytes; the file name and the declared content type are not evidence), TooLarge (sides or area beyond `limits`).
    """
    if not data:
        raise BadImage(f"{field} is empty (0 bytes)", field=field)
    try:
        header = _parse(data)
    except (IndexError, struct.error):
        raise BadImage(f"{field} is cut off inside its header ({len(data)} bytes)", field=field) from None
    except _Damaged as err:
        raise BadImage(f"{field} is {err}", field=field) from None
    if header is None:
        raise UnsupportedMedia(
            f"{field} is not a JPEG, PNG or WebP picture (judged by its first bytes, not by its name)", field=field
        )
    if header.width < 1 or header.height < 1:
        raise BadImage(f"{field} says it is {header.width}×{header.height} pixels", field=field)
    _judge(header, limits, field)
    return header


def jpeg_shrink(header: ImageHeader, rule: ResizeRule) -> int:
    """1, 2, 4 or 8: how much smaller each side of a JPEG may be decoded for a model with that rule.

    The decoded picture stays at least twice as large as what the model sees: there Pillow's documentation of
    Image.thumbnail calls the difference to full decoding hard to tell.
    """
    if header.format != "jpeg":
        return 1
    needed_px = (rule.shorter_side_px or max(rule.size_hw)) * 2.0
    factor = min(header.width, header.height) / needed_px
    return next((shrink for shrink in (8, 4, 2) if factor >= shrink), 1)


def _judge(header: ImageHeader, limits: SizeLimits, field: str) -> None:
    size = f"{header.width}×{header.height} pixels"
    if max(header.width, header.height) > limits.max_side_px:
        raise TooLarge(
            f"{field} is {size}; no side may exceed {limits.max_side_px} pixels",
            field=field,
            limit=f"{limits.max_side_px} px a side",
        )
    if header.pixels > limits.max_pixels:
        raise TooLarge(
            f"{field} is {size}; at most {limits.max_pixels:,} pixels are accepted",
            field=field,
            limit=f"{limits.max_pixels} px",
        )


def _parse(data: bytes) -> ImageHeader | None:
    if data.startswith(b"\xff\xd8"):
        return _jpeg(data)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        width, height = struct.unpack_from(">II", data, 16)
        if data[12:16] != b"IHDR":
            raise _Damaged("a damaged PNG: it does not begin with its size")
        return ImageHeader("png", width, height)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp(data)
    return None


def _jpeg(data: bytes) -> ImageHeader:
    """Source: ITU-T T.81, annex B: segments up to the first start of frame."""
    at = 2
    for _ in range(_MOST_JPEG_SEGMENTS):
        found = _MARKER.search(data, at)
        if found is None:
            raise IndexError
        at, marker = found.end() - 2, data[found.end() - 1]
        if marker in _STANDALONE:
            at += 2
        elif marker in _SOF:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return ImageHeader("jpeg", width, height, progressive=marker in (0xC2, 0xC6, 0xCA, 0xCE))
        else:
            (length,) = struct.unpack_from(">H", data, at + 2)
            at += 2 + max(length, 2)
    raise _Damaged(f"a damaged JPEG: no frame among its first {_MOST_JPEG_SEGMENTS} segments")


def _webp(data: bytes) -> ImageHeader:
    """Source: the WebP container specification; VP8 (RFC 6386), VP8L and VP8X headers."""
    chunk = data[12:16]
    if chunk == b"VP8X":
        width = int.from_bytes(data[24:27], "little") + 1
        height = int.from_bytes(data[27:30], "little") + 1
        _ = data[29]
    elif chunk == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif chunk == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    else:
        raise _Damaged("a WebP file without a picture")
    return ImageHeader("webp", width, height)
