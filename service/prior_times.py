"""What decoding a picture and making an answer take, by its header, before anything was observed on this machine.

First guesses of the right order; service/latency.py corrects them by what it observes.
"""

from __future__ import annotations

from typing import Literal

from service.image_header import ImageFormat, ImageHeader, jpeg_shrink
from service.manifest import ResizeRule

# What is done after the model: nothing worth counting; boxes; masks of things; a map of the whole picture; outlines;
# PNGs; the picture drawn on and encoded again.
Post = Literal["nothing", "boxes", "masks", "map", "polygons", "png", "overlay"]

# Not measurements.
_DECODE_FLOOR_MS = 0.4
_ENTROPY_NS_PER_PX: dict[ImageFormat, float] = {"jpeg": 1.5, "png": 11.0, "webp": 12.0}
_TRANSFORM_NS_PER_PX: dict[ImageFormat, float] = {"jpeg": 7.0, "png": 4.0, "webp": 5.0}
_PROGRESSIVE_FACTOR = 2.0

# (ms, ns a pixel), measured on one core, pictures of 0.3 to 12 megapixels.
_POST: dict[Post, tuple[float, float]] = {
    "nothing": (0.0, 0.0),
    "boxes": (0.2, 0.0),
    "masks": (1.0, 2.0),
    "map": (2.0, 3.0),
    "polygons": (6.0, 8.0),
    "png": (2.0, 6.0),
    "overlay": (4.0, 25.0),
}


def decode_prior_ms(header: ImageHeader, rule: ResizeRule) -> float:
    """Time to decode and resize the picture for a model with that rule, on one core.

    Entropy decoding touches every pixel; transform, colour and resizing only those left after scaling.
    """
    entropy_ns = _ENTROPY_NS_PER_PX[header.format] * (_PROGRESSIVE_FACTOR if header.progressive else 1.0)
    transform_ns = _TRANSFORM_NS_PER_PX[header.format] / jpeg_shrink(header, rule) ** 2
    return _DECODE_FLOOR_MS + header.pixels * (entropy_ns + transform_ns) * 1e-6


def post_prior_ms(header: ImageHeader, post: Post) -> float:
    """Time to make the answer of the model's outputs, on one core."""
    floor_ms, ns_per_px = _POST[post]
    return floor_ms + header.pixels * ns_per_px * 1e-6
