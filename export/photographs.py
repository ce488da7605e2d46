"""Real photographs that come inside the scikit-image and scikit-learn packages, so no export needs a data set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import skimage.data
import sklearn.datasets
from numpy.typing import NDArray
from PIL import Image, ImageOps

from export.upstream import Upstream


def photographs() -> tuple[Image.Image, ...]:
    """Six pictures, RGB: astronaut, cat, coffee, rocket, temple, flower."""
    inside_skimage: tuple[Callable[[], Any], ...] = (
        skimage.data.astronaut,
        skimage.data.chelsea,
        skimage.data.coffee,
        skimage.data.rocket,
    )
    arrays = [read() for read in inside_skimage]
    arrays += [sklearn.datasets.load_sample_image(name) for name in ("china.jpg", "flower.jpg")]
    return tuple(Image.fromarray(np.asarray(array, dtype=np.uint8)) for array in arrays)


def seven_pixels(source: Upstream) -> NDArray[np.uint8]:
    """(7, H, W, 3) uint8 by the library's own transform: the six, and the first one mirrored."""
    pictures = photographs()
    return np.stack([source.pixels(picture) for picture in (*pictures, ImageOps.mirror(pictures[0]))])
