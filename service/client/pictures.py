"""What a caller may hand over as a picture → the bytes that travel."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.upright import upright

Picture = str | os.PathLike[str] | bytes | bytearray | memoryview | Image.Image | NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Source:
    """The bytes that were sent; kept for `overlay`, which needs the picture again."""

    data: bytes

    def image(self) -> Image.Image:
        """The picture as the gateway saw it: 8-bit RGB, upright. Raises OSError if it cannot be decoded."""
        with Image.open(io.BytesIO(self.data)) as opened:
            return upright(opened)


def source_of(picture: Picture) -> Source:
    """The picture's bytes: a file's and bytes as they are, an image's and an array's as PNG, which loses nothing.

    An array is (H, W, 3) uint8 RGB. Raises OSError for a file that cannot be read, TypeError and ValueError for what
    is no picture.
    """
    if isinstance(picture, str | os.PathLike):
        return Source(Path(picture).read_bytes())
    if isinstance(picture, bytes | bytearray | memoryview):
        return Source(bytes(picture))
    if isinstance(picture, Image.Image):
        if picture.mode == "F":
            raise ValueError("an image of floats has no agreed range: turn it into 8-bit RGB first")
        return _png(upright(picture))
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
            raise ValueError(f"an array must be (H, W, 3) uint8 RGB; this one is {picture.shape} {picture.dtype}")
        return _png(Image.fromarray(np.ascontiguousarray(picture)))
    raise TypeError(
        f"a picture is a path, bytes, a PIL image or an (H, W, 3) uint8 array, not {type(picture).__name__}"
    )


def _png(image: Image.Image) -> Source:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return Source(file.getvalue())
