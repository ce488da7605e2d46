"""Good pictures in every form that the gateway takes, small, and bad ones of the kinds that people make on purpose."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import cache

import numpy as np
from PIL import Image

from tests.pictures import encoded, photograph, stored


def _small(name: str = "chelsea", width: int = 96) -> Image.Image:
    full = photograph(name)
    return full.resize((width, max(1, full.height * width // full.width)))


def _sixteen_bits() -> Image.Image:
    return Image.fromarray(np.asarray(_small().convert("L")).astype(np.uint16) * 257)


def _animated(format: str) -> bytes:
    frames = [_small("rocket"), _small("coffee").resize(_small("rocket").size)]
    return encoded(_small("rocket"), format, save_all=True, append_images=frames)


def _turned() -> bytes:
    picture, exif = stored(_small(), 6)
    return encoded(picture, "JPEG", exif=exif)


def _with_profile() -> bytes:
    return encoded(_small(), "JPEG", icc_profile=bytes(range(256)) * 300, comment=b"a comment" * 50)


_GOOD: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: encoded(_small()),
    "jpeg progressive": lambda: encoded(_small("coffee"), progressive=True),
    "jpeg grey": lambda: encoded(_small().convert("L")),
    "jpeg cmyk": lambda: encoded(_small().convert("CMYK")),
    "jpeg turned": _turned,
    "jpeg with profile and comment": _with_profile,
    "jpeg restarts": lambda: encoded(_small(), restart_marker_blocks=2),
    "png": lambda: encoded(_small(), "PNG"),
    "png alpha": lambda: encoded(_small().convert("RGBA"), "PNG"),
    "png palette": lambda: encoded(_small().quantize(32), "PNG"),
    "png 1 bit": lambda: encoded(_small().convert("1"), "PNG"),
    "png 16 bits": lambda: encoded(_sixteen_bits(), "PNG"),
    "apng": lambda: _animated("PNG"),
    "webp": lambda: encoded(_small(), "WEBP"),
    "webp lossless": lambda: encoded(_small(), "WEBP", lossless=True),
    "webp alpha": lambda: encoded(_small().convert("RGBA"), "WEBP"),
    "webp animated": lambda: _animated("WEBP"),
}


@cache
def good() -> dict[str, bytes]:
    """Each a picture that is answered with 200."""
    return {name: make() for name, make in _GOOD.items()}


def chunk(kind: bytes, data: bytes) -> bytes:
    """A PNG chunk with its right checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 0) -> bytes:
    """A PNG that says it has that size, with whatever chunks follow."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def _bomb(width: int, height: int) -> bytes:
    """A valid picture of zeros: a thousand times smaller on the wire."""
    return png_of(width, height, chunk(b"IDAT", zlib.compress(bytes((width + 1) * height), 9)))


def _text_bomb(kind: bytes) -> bytes:
    """A tiny picture with 64 MB of text, compressed: Pillow unpacks it while it opens the file."""
    prefix = {b"zTXt": b"a\0\0", b"iTXt": b"a\0\1\0\0\0", b"iCCP": b"a\0\0"}[kind]
    text = chunk(kind, prefix + zlib.compress(bytes(64_000_000), 9))
    return png_of(4, 4, text, chunk(b"IDAT", zlib.compress(bytes(5 * 4))))


def _zip() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.html", "<script>alert(1)</script>")
    return packed.getvalue()


def _jpeg_with(segment: bytes) -> bytes:
    whole = good()["jpeg"]
    return whole[:2] + segment + whole[2:]


def _comment(data: bytes) -> bytes:
    return b"\xff\xfe" + struct.pack(">H", len(data) + 2) + data


def _many_scans() -> bytes:
    """A progressive JPEG whose last scan comes two hundred times: each is decoded anew."""
    whole = good()["jpeg progressive"]
    last = whole.rindex(b"\xff\xda")
    return whole[:-2] + whole[last:-2] * 200 + b"\xff\xd9"


def _riff(*chunks: bytes) -> bytes:
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


_NASTY: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "one byte": lambda: b"\xff",
    "bomb, 49 million pixels": lambda: _bomb(7_000, 7_000),
    "bomb, a row": lambda: _bomb(16_384, 1),
    "bomb, a column": lambda: _bomb(1, 16_384),
    "bomb, text": lambda: _text_bomb(b"zTXt"),
    "bomb, international text": lambda: _text_bomb(b"iTXt"),
    "bomb, profile": lambda: _text_bomb(b"iCCP"),
    "jpeg of many scans": _many_scans,
    "jpeg of markers": lambda: b"\xff\xd8" + b"\xff\xfe\x00\x02" * 100_000,
    "jpeg of fill bytes": lambda: b"\xff\xd8" + b"\xff" * 2_000_000,
    "jpeg of restart markers": lambda: b"\xff\xd8" + b"\xff\xd0" * 500_000,
    "polyglot, jpeg and zip": lambda: good()["jpeg"] + _zip(),
    "polyglot, jpeg and html": lambda: _jpeg_with(_comment(b"<html><script>alert(1)</script>")),
    "polyglot, jpeg and php": lambda: _jpeg_with(_comment(b"<?php system($_GET['c']); ?>")),
    "polyglot, gif and jpeg": lambda: b"GIF89a" + good()["jpeg"],
    "polyglot, png then jpeg": lambda: good()["png"] + good()["jpeg"],
    "polyglot, pdf in png": lambda: png_of(
        4, 4, chunk(b"tEXt", b"a\0%PDF-1.7"), chunk(b"IDAT", zlib.compress(bytes(20)))
    ),
    "svg": lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><image href="http://169.254.169.254/"/></svg>',
    "tiff": lambda: encoded(_small(), "TIFF"),
    "gif": lambda: encoded(_small(), "GIF"),
    "bmp": lambda: encoded(_small(), "BMP"),
    "ico": lambda: encoded(_small(), "ICO"),
    "png of a wrong checksum": lambda: good()["png"].replace(b"IDAT", b"IDAX", 1),
    "png without data": lambda: png_of(30, 30),
    "png of two headers": lambda: png_of(4, 4, png_of(9_000, 9_000)[8:33]),
    "png of no colour type": lambda: png_of(4, 4, chunk(b"IDAT", zlib.compress(bytes(20))), colour=5),
    "png of 3 bits": lambda: png_of(4, 4, chunk(b"IDAT", zlib.compress(bytes(20))), depth=3),
    "png palette without palette": lambda: png_of(4, 4, chunk(b"IDAT", zlib.compress(bytes(20))), colour=3),
    "png of ten thousand chunks": lambda: png_of(4, 4, *[chunk(b"tEXt", b"a\0b")] * 10_000),
    "webp of nothing": lambda: _riff(),
    "webp canvas beyond its frame": lambda: _riff(b"VP8X\x0a\0\0\0" + b"\0\0\0\0" + b"\xff\x1f\0" * 2),
    "webp that lies about its length": lambda: b"RIFF\xff\xff\xff\xffWEBPVP8 " + good()["webp"][16:],
}


@cache
def nasty() -> dict[str, bytes]:
    """Pictures and no pictures that are answered, whatever with, as long as it is declared."""
    return {name: make() for name, make in _NASTY.items()}
