"""Class maps and masks of the model's pixels → the same in pixels of the upright original."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from service.errors import EngineFailed
from service.images import Geometry
from service.masks import Mask
from service.tasks.detect import Arrays, Detection

# The map's value where the model saw nothing: what the centre crop cut off. No model has so many classes.
UNSEEN = 255
# A pixel belongs to a mask if the mask's value at the pixel's centre is above this.
MASK_THRESHOLD = 0.5
# Values are computed for so many rows at a time: a thing may be as large as the largest picture.
_BLOCK_ROWS = 256


def map_to_image(values: NDArray[np.generic], geometry: Geometry, unseen: int) -> NDArray[np.uint8]:
    """(H, W) uint8 of the picture's size: each pixel takes the value of the model pixel that its centre lies in.

    values  (h, w) whole numbers in 0..255, over the model's input; `unseen` is for pixels outside of it
    Nearest and not smoothed, because class ids cannot be averaged.
    """
    if values.dtype != np.uint8:
        if values.size and not (values.min() >= 0 and values.max() <= UNSEEN):
            raise EngineFailed("the model gave a map with values beyond 0..255")
        values = values.astype(np.uint8)
    rows, rows_seen = _nearest(0, values.shape[0], geometry)
    columns, columns_seen = _nearest(1, values.shape[1], geometry)
    # Columns first, on the small map: what is left is copying whole rows.
    image_map = values[:, columns][rows]  # (H, W)
    image_map[~rows_seen] = unseen
    image_map[:, ~columns_seen] = unseen
    return image_map.astype(np.uint8, copy=False)


def _nearest(axis: int, count: int, geometry: Geometry) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """For each picture row (axis 0) or column: the map's row or column below its centre, and whether it is inside."""
    centres = np.arange(geometry.image_hw[axis]) + 0.5
    model_px = (centres - geometry.offset_yx[axis]) / geometry.scale_yx[axis]
    index = np.floor(model_px * (count / geometry.model_hw[axis])).astype(np.intp)
    seen = (model_px >= 0) & (model_px < geometry.model_hw[axis])
    return index.clip(0, count - 1), seen


def check_classes(class_map: NDArray[np.generic], names: tuple[str, ...]) -> None:
    """Raises EngineFailed for a value that is neither a class with a name nor UNSEEN. class_map: whole numbers."""
    if not np.isin(class_map, [*range(len(names)), UNSEEN]).all():
        raise EngineFailed("the model gave a class that has no name")


def paste_masks(arrays: Arrays, geometry: Geometry, detections: list[Detection]) -> Iterator[Mask]:
    """One mask a detection, in the picture's pixels, each made when it is asked for: one may take 50 MB.

    arrays  boxes (K, 4) and masks (K, h, w) in 0..1: cell (i, j) covers the i-th of h parts of the box's height and
    the j-th of w parts of its width. The value at a pixel's centre is interpolated between the centres of the cells,
    as torch's interpolate does with align_corners=False; above MASK_THRESHOLD the pixel is inside.
    Source: Mask R-CNN, section 3.1, and detectron2's paste_masks_in_image, which samples at pixel centres as well.
    """
    slots = [found.slot for found in detections]
    boxes = geometry.place_boxes(arrays["boxes"][slots].astype(np.float64))  # (D, 4) px, not clipped
    masks = arrays["masks"][slots].astype(np.float32)  # (D, h, w)
    if not np.isfinite(masks).all():
        raise EngineFailed("the model gave masks that are no numbers")
    return (_paste(mask, box, geometry.image_hw) for mask, box in zip(masks, boxes, strict=True))


def _paste(mask: NDArray[np.float32], box: NDArray[np.float64], image_hw: tuple[int, int]) -> Mask:
    top, rows, row_share = _samples(box[1], box[3], mask.shape[0], image_hw[0])
    left, columns, column_share = _samples(box[0], box[2], mask.shape[1], image_hw[1])
    tall = mask[rows] * (1 - row_share[:, None])
    tall += mask[np.minimum(rows + 1, mask.shape[0] - 1)] * row_share[:, None]  # (H', w)
    columns_after = np.minimum(columns + 1, mask.shape[1] - 1)
    pixels = np.empty((len(rows), len(columns)), dtype=bool)  # (H', W')
    for start in range(0, len(rows), _BLOCK_ROWS):
        block = tall[start : start + _BLOCK_ROWS]
        wide = block[:, columns] * (1 - column_share) + block[:, columns_after] * column_share
        pixels[start : start + _BLOCK_ROWS] = wide > MASK_THRESHOLD
    return Mask(image_hw, (top, left), pixels)


def _samples(start: float, end: float, cells: int, limit: int) -> tuple[int, NDArray[np.intp], NDArray[np.float32]]:
    """First pixel whose centre is between `start` and `end`, and for each such pixel the cell before it and the share
    of the cell after it."""
    first, last = max(0, math.ceil(start - 0.5)), min(limit, math.ceil(end - 0.5))
    centres = np.arange(first, max(first, last)) + 0.5
    at = ((centres - start) / max(end - start, 1e-9) * cells - 0.5).clip(0.0, cells - 1.0)
    before = np.floor(at).astype(np.intp)
    return first, before, (at - before).astype(np.float32)
