"""Whether two answers say the same: all but the ids and times of them, to the last digit or within a tolerance.

A batch adds up its convolutions in another order than a single picture, so scores, vectors and boxes may differ in
their last digits, and a pixel on an edge may fall to the other side.
"""

from __future__ import annotations

import io
import json
import math
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from service.masks import pixels_of_rle

# Of scores and of vectors, relative to the larger; of boxes, in pixels of the picture.
SCORE_TOLERANCE = 1e-3
BOX_TOLERANCE_PX = 1.0
# Of a map's or a mask's pixels may differ.
PIXEL_SHARE = 0.005
# Of a drawn JPEG: mean difference of its values, 0..255.
DRAWN_MEAN = 1.0

_VOLATILE = ("id", "routing", "timing_ms", "warnings")


def essence(head: bytes, body: bytes) -> Any:
    """The answer without what differs each time; a picture as its bytes."""
    if b"content-type: application/json" not in head:
        return body
    return _without(json.loads(body))


def _without(document: Any) -> Any:
    if isinstance(document, dict):
        return {name: _without(value) for name, value in document.items() if name not in _VOLATILE}
    return [_without(item) for item in document] if isinstance(document, list) else document


def alike(found: Any, expected: Any) -> bool:
    """The same within the tolerances above."""
    if isinstance(expected, bytes):
        return isinstance(found, bytes) and _pictures_alike(found, expected)
    return _alike(found, expected, "")


def _alike(found: Any, expected: Any, name: str) -> bool:
    if type(found) is not type(expected) and not (
        isinstance(found, (int, float)) and isinstance(expected, (int, float))
    ):
        return False
    if name == "polygons":
        return _shapes_alike(found, expected)
    if name == "rle":
        return _runs_alike(found, expected)
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(_alike(found[key], expected[key], key) for key in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(_alike(f, e, name) for f, e in zip(found, expected, strict=True))
    if isinstance(expected, float):
        return math.isclose(found, expected, rel_tol=SCORE_TOLERANCE, abs_tol=_tolerance(name))
    return bool(found == expected)


def _tolerance(name: str) -> float:
    return BOX_TOLERANCE_PX if name in ("xmin", "ymin", "xmax", "ymax") else SCORE_TOLERANCE


def _shapes_alike(found: list[list[float]], expected: list[list[float]]) -> bool:
    """Polygons, drawn into the smallest picture that holds both."""
    numbers = [number for shape in (*found, *expected) for number in shape]
    side = int(max(numbers, default=0.0)) + 2
    masks = []
    for shapes in (found, expected):
        canvas = Image.new("1", (side, side))
        for shape in shapes:
            if len(shape) >= 6:
                ImageDraw.Draw(canvas).polygon(shape, fill=1)
        masks.append(np.asarray(canvas))
    return bool((masks[0] != masks[1]).mean() <= PIXEL_SHARE)


def _runs_alike(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    if found["size"] != expected["size"]:
        return False
    one, other = (pixels_of_rle(tuple(mask["size"]), mask["counts"]) for mask in (found, expected))
    return bool((one != other).mean() <= PIXEL_SHARE)


def _pictures_alike(found: bytes, expected: bytes) -> bool:
    one, other = (Image.open(io.BytesIO(data)) for data in (found, expected))
    if one.size != other.size or one.mode != other.mode:
        return False
    pixels = [np.asarray(picture).astype(np.int16) for picture in (one, other)]
    if one.format == "PNG":  # class numbers: no nearer and farther
        return bool((pixels[0] != pixels[1]).mean() <= PIXEL_SHARE)
    return bool(np.abs(pixels[0] - pixels[1]).mean() <= DRAWN_MEAN)
