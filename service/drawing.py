"""The picture with what was found in it drawn on it."""

from __future__ import annotations

import colorsys
import io
from collections.abc import Iterable, Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from service.masks import Mask

_GOLDEN_RATIO = 0.618033988749895
_MEDIA_TYPES: dict[Literal["JPEG", "PNG"], str] = {"JPEG": "image/jpeg", "PNG": "image/png"}
# Of a tinted pixel half is the picture's, half the colour.
_HALF = 128
# Beside a class's number in a palette: black for what is no class.
_BLACK = (0, 0, 0)

Rgb = tuple[int, int, int]


class Found(Protocol):
    """A thing to draw: `box` is xyxy in pixels of the picture."""

    @property
    def label(self) -> str: ...
    @property
    def score(self) -> float: ...
    @property
    def box(self) -> tuple[float, float, float, float]: ...


def colour_of(class_id: int) -> Rgb:
    """The class's colour: bright, the same in every picture, and far from those of its neighbours."""
    hue = (0.02 + class_id * _GOLDEN_RATIO) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85 if class_id % 2 else 0.65, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def palette(classes: int) -> NDArray[np.uint8]:
    """(256, 3) uint8: the colours of the classes, black for all numbers beyond."""
    return np.array([colour_of(i) if i < classes else _BLACK for i in range(256)], dtype=np.uint8)


def palette_of_segments(count: int) -> NDArray[np.uint8]:
    """(256, 3) uint8: black for 0, which is no segment, then a colour for each segment."""
    return np.vstack([np.zeros((1, 3), np.uint8), palette(count)[:-1]])


def paint_masks(image: Image.Image, masks: Iterable[tuple[Mask, Rgb]]) -> Image.Image:
    """The picture with each mask tinted in its colour, the last one on top."""
    pixels = np.asarray(image).copy()  # (H, W, 3)
    for mask, colour in masks:
        (top, left), (height, width) = mask.top_left, mask.pixels.shape
        region = pixels[top : top + height, left : left + width]
        region[mask.pixels] = region[mask.pixels] // 2 + np.array(colour, np.uint8) // 2
    return Image.fromarray(pixels)


def paint_map(image: Image.Image, class_map: NDArray[np.uint8], classes: int) -> Image.Image:
    """The picture with every pixel tinted in the colour of its class; `class_map` (H, W), beyond `classes` untinted."""
    colours = Image.fromarray(palette(classes)[class_map])
    seen = Image.fromarray(np.where(class_map < classes, _HALF, 0).astype(np.uint8))
    return Image.composite(colours, image, seen)


def draw_detections(image: Image.Image, detections: Sequence[Found], colours: Sequence[Rgb]) -> Image.Image:
    """The picture with a box, a label and a score for each thing, the first one on top."""
    drawn = image.copy()
    pen, font = ImageDraw.Draw(drawn), _font(image)
    line_px = max(1, round(min(image.size) / 250))
    for found, colour in reversed(list(zip(detections, colours, strict=True))):
        left, top, right, bottom = found.box
        pen.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=colour, width=line_px)
        _tag(pen, font, (left, top), f"{found.label} {found.score:.2f}", colour)
    return drawn


def draw_legend(image: Image.Image, classes: Sequence[tuple[str, Rgb]]) -> Image.Image:
    """The picture with the names of the classes in their colours, from the upper left corner down."""
    drawn = image.copy()
    pen, font = ImageDraw.Draw(drawn), _font(image)
    at = 0.0
    for name, colour in classes:
        at += _tag(pen, font, (0.0, at), name, colour, below=True)
    return drawn


def encode(image: Image.Image, image_format: Literal["JPEG", "PNG"]) -> tuple[bytes, str]:
    """The picture as a file, and its media type."""
    file = io.BytesIO()
    if image_format == "PNG":
        image.save(file, "PNG", compress_level=1)
    else:
        image.save(file, "JPEG", quality=90)
    return file.getvalue(), _MEDIA_TYPES[image_format]


def _font(image: Image.Image) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=max(10, min(40, round(min(image.size) / 30))))


def _tag(
    pen: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    corner: tuple[float, float],
    text: str,
    colour: Rgb,
    *,
    below: bool = False,
) -> float:
    """Writes a label on its colour: above the corner where there is room, else below it. Returns its height."""
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    width, height = right - left + 4, bottom - top + 4
    x, y = corner
    if not below and y >= height:
        y -= height
    bright = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 128
    pen.rectangle((x, y, x + width, y + height), fill=colour)
    pen.text((x + 2 - left, y + 2 - top), text, font=font, fill=_BLACK if bright else (255, 255, 255))
    return float(height)
