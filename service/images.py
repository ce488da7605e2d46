"""Bytes → upright RGB → the model's pixels, and Geometry: the way back to image pixels."""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from service.errors import BadImage
from service.image_header import ImageHeader, jpeg_shrink
from service.manifest import ResizeRule
from service.upright import SWAPS_SIDES, TRANSPOSE, orientation_of, to_rgb

# Pillow's own bomb check warns at half of what its error allows; image_header refuses earlier, and names the limit.
Image.MAX_IMAGE_PIXELS = None
# Pillow warns of every oddity in a picture, once for each new text: a log that clients write.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

_PILLOW_FORMATS = {"jpeg": "JPEG", "png": "PNG", "webp": "WEBP"}
_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_LETTERBOX_GREY = (114, 114, 114)

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where the model's pixels lie in the upright original: image_px = model_px · scale + offset, per axis.

    image_hw, model_hw  sizes in pixels      scale_yx  image pixels per model pixel      offset_yx  in image pixels
    """

    image_hw: tuple[int, int]
    model_hw: tuple[int, int]
    scale_yx: tuple[float, float]
    offset_yx: tuple[float, float]

    def boxes_to_image_px(self, boxes_model_01: NDArray[np.floating]) -> NDArray[np.float64]:
        """(N, 4) xyxy in 0..1 of the model's input → (N, 4) xyxy in image pixels, clipped to the image."""
        height, width = self.image_hw
        return self.place_boxes(boxes_model_01).clip(0.0, np.array([width, height] * 2, dtype=np.float64))

    def place_boxes(self, boxes_model_01: NDArray[np.floating]) -> NDArray[np.float64]:
        """`boxes_to_image_px` without clipping."""
        scale = np.array([self.scale_yx[1], self.scale_yx[0]] * 2)
        offset = np.array([self.offset_yx[1], self.offset_yx[0]] * 2)
        model = np.array([self.model_hw[1], self.model_hw[0]] * 2)
        boxes_image_px: NDArray[np.float64] = boxes_model_01.astype(np.float64) * model * scale + offset  # (N, 4)
        return boxes_image_px

    def boxes_to_model_01(self, boxes_image_px: NDArray[np.floating]) -> NDArray[np.float64]:
        """The inverse of `boxes_to_image_px`, without clipping."""
        scale = np.array([self.scale_yx[1], self.scale_yx[0]] * 2)
        offset = np.array([self.offset_yx[1], self.offset_yx[0]] * 2)
        model = np.array([self.model_hw[1], self.model_hw[0]] * 2)
        boxes_model_01: NDArray[np.float64] = (boxes_image_px.astype(np.float64) - offset) / scale / model  # (N, 4)
        return boxes_model_01


def to_model_pixels(
    data: bytes, header: ImageHeader, rule: ResizeRule, *, field: str = "image"
) -> tuple[NDArray[np.uint8], Geometry]:
    """The picture as the model expects it, (H, W, 3) uint8 RGB, and the way back.

    The first frame only; EXIF orientation applied; transparency laid over white; 16 bits scaled to 8.
    Raises BadImage if the picture cannot be decoded to its last row.
    """
    rgb, shrink, orientation = _open(data, header, rule, field)
    true_size = (header.width / shrink, header.height / shrink)
    upright, box = _upright(rgb, true_size, orientation)
    image_hw = (header.height, header.width)
    if orientation in SWAPS_SIDES:
        image_hw = (header.width, header.height)
    return _resize(upright, box, image_hw, rule)


# What Pillow raises for bytes that are not what they should be: of chunks and tables as well, whose readers trust them.
_UNREADABLE = (
    *(UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError, MemoryError),
    *(IndexError, KeyError, TypeError, struct.error),
)


def to_upright(data: bytes, header: ImageHeader, *, field: str = "image") -> Image.Image:
    """The picture in its own size, 8-bit RGB, upright. Raises BadImage as `to_model_pixels` does."""
    rgb, _, orientation = _open(data, header, None, field)
    return rgb if orientation == 1 else rgb.transpose(TRANSPOSE[orientation])


def _open(data: bytes, header: ImageHeader, rule: ResizeRule | None, field: str) -> tuple[Image.Image, int, int]:
    """RGB as stored, how much smaller each side is (1 without a rule), and the EXIF orientation."""
    try:
        with Image.open(io.BytesIO(data), formats=[_PILLOW_FORMATS[header.format]]) as opened:
            if opened.size != (header.width, header.height):
                raise ValueError(f"its header says {header.width}×{header.height}, its data {opened.size}")
            shrink = _draft(opened, header, rule) if rule is not None else 1
            # In one piece: between pieces of Pillow's own 64 KiB a thread waits for the interpreter's lock.
            opened.decodermaxblock = len(data)
            opened.load()
            orientation = orientation_of(opened)
            return to_rgb(opened), shrink, orientation
    except _UNREADABLE as err:
        raise BadImage(f"{field} cannot be decoded: {_reason(err)}", field=field) from err


def _draft(opened: Image.Image, header: ImageHeader, rule: ResizeRule) -> int:
    """Asks the JPEG decoder for a smaller picture; 1, 2, 4 or 8: how much smaller each side will be."""
    shrink = jpeg_shrink(header, rule)
    if shrink == 1:
        return 1
    opened.draft(opened.mode, (max(1, header.width // shrink), max(1, header.height // shrink)))
    return round(header.width / opened.width)  # what the decoder really does, which is its own choice


def _upright(image: Image.Image, true_size: tuple[float, float], orientation: int) -> tuple[Image.Image, Box]:
    """The picture turned upright, and the part of it that counts: a drafted JPEG is rounded up to whole pixels."""
    right, bottom = (float(side) for side in image.size)
    spare_x, spare_y = right - true_size[0], bottom - true_size[1]
    if orientation == 1:
        return image, (0.0, 0.0, true_size[0], true_size[1])
    upright = image.transpose(TRANSPOSE[orientation])
    if orientation in SWAPS_SIDES:
        spare_x, spare_y = spare_y, spare_x
    width, height = upright.size
    left = spare_x if orientation in (2, 3, 6, 7) else 0.0
    top = spare_y if orientation in (3, 4, 7, 8) else 0.0
    return upright, (left, top, left + width - spare_x, top + height - spare_y)


def _resize(
    image: Image.Image, box: Box, image_hw: tuple[int, int], rule: ResizeRule
) -> tuple[NDArray[np.uint8], Geometry]:
    if rule.mode == "crop":
        return _resize_and_crop(image, box, image_hw, rule)
    if rule.mode == "squash":
        resized = image.resize((rule.size_hw[1], rule.size_hw[0]), _RESAMPLING[rule.interpolation], box=box)
        scale_yx = (image_hw[0] / rule.size_hw[0], image_hw[1] / rule.size_hw[1])
        return np.asarray(resized), Geometry(image_hw, rule.size_hw, scale_yx, (0.0, 0.0))
    return _letterbox(image, box, image_hw, rule)


def _resize_and_crop(
    image: Image.Image, box: Box, image_hw: tuple[int, int], rule: ResizeRule
) -> tuple[NDArray[np.uint8], Geometry]:
    """Resize the shorter side, cut the centre: only the pixels that survive the cut are computed.

    Source: torchvision Resize(int) truncates the longer side; CenterCrop rounds half to even.
    """
    (height, width), (crop_h, crop_w) = image_hw, rule.size_hw
    shorter = rule.shorter_side_px or min(rule.size_hw)
    if width <= height:
        resized_w, resized_h = shorter, int(shorter * height / width)
    else:
        resized_w, resized_h = int(shorter * width / height), shorter
    top, left = round((resized_h - crop_h) / 2), round((resized_w - crop_w) / 2)
    step_x, step_y = (box[2] - box[0]) / resized_w, (box[3] - box[1]) / resized_h
    region = (
        box[0] + left * step_x,
        box[1] + top * step_y,
        min(box[0] + (left + crop_w) * step_x, image.width),
        min(box[1] + (top + crop_h) * step_y, image.height),
    )
    cropped = image.resize((crop_w, crop_h), _RESAMPLING[rule.interpolation], box=region)
    scale_yx = (height / resized_h, width / resized_w)
    geometry = Geometry(image_hw, rule.size_hw, scale_yx, (top * scale_yx[0], left * scale_yx[1]))
    return np.asarray(cropped), geometry


def _letterbox(
    image: Image.Image, box: Box, image_hw: tuple[int, int], rule: ResizeRule
) -> tuple[NDArray[np.uint8], Geometry]:
    (height, width), (model_h, model_w) = image_hw, rule.size_hw
    ratio = min(model_h / height, model_w / width)
    inner_h, inner_w = max(1, round(height * ratio)), max(1, round(width * ratio))
    top, left = (model_h - inner_h) // 2, (model_w - inner_w) // 2
    canvas = Image.new("RGB", (model_w, model_h), _LETTERBOX_GREY)
    canvas.paste(image.resize((inner_w, inner_h), _RESAMPLING[rule.interpolation], box=box), (left, top))
    scale_yx = (height / inner_h, width / inner_w)
    geometry = Geometry(image_hw, rule.size_hw, scale_yx, (-top * scale_yx[0], -left * scale_yx[1]))
    return np.asarray(canvas), geometry


def _reason(err: BaseException) -> str:
    """Pillow's sentence, without the object addresses that some of its messages carry."""
    text = str(err).split("<")[0].strip()
    return text or type(err).__name__
