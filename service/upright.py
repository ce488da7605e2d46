"""Decoded pixels → upright 8-bit RGB, in the gateway and in its client: both must mean the same pixels."""

from __future__ import annotations

import numpy as np
from PIL import ExifTags, Image

TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SWAPS_SIDES = frozenset({5, 6, 7, 8})


def upright(opened: Image.Image) -> Image.Image:
    """A picture that Pillow has opened: its first frame in its own size, 8-bit RGB, EXIF orientation applied."""
    opened.load()
    orientation = orientation_of(opened)
    rgb = to_rgb(opened)
    return rgb if orientation == 1 else rgb.transpose(TRANSPOSE[orientation])


def orientation_of(opened: Image.Image) -> int:
    """EXIF orientation 1..8; 1 where there is none, or where its block is damaged. In PNG it may follow the pixels."""
    try:
        orientation = opened.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # whatever a damaged block makes Pillow raise, the pixels are good
        return 1
    return orientation if orientation in TRANSPOSE else 1


def to_rgb(opened: Image.Image) -> Image.Image:
    """8-bit RGB of a picture that is decoded already."""
    if opened.mode == "RGB" and "transparency" not in opened.info:
        return opened.copy() if opened.readonly else opened
    if opened.mode.startswith("I"):  # 16-bit greyscale: Pillow's own conversion clips instead of scaling
        levels = np.asarray(opened).astype(np.uint32)  # (H, W)
        grey = np.where(levels == opened.info.get("transparency", -1), 255, levels >> 8)  # (H, W)
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if "A" in opened.getbands() or "a" in opened.getbands() or "transparency" in opened.info:
        rgba = opened.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return opened.convert("RGB")
