"""Enough different pictures to tell 99.5 % from 99 %, without a data set: crops of the photographs in the packages."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import ImageOps

from export.photographs import photographs
from export.upstream import Upstream

CROPS = 204
SEED = 7
LEAST_SIDE_SHARE = 0.45


def crops(source: Upstream) -> NDArray[np.uint8]:
    """(204, H, W, 3) uint8 by the library's own transform: squares of the six photographs, half of them mirrored.

    Always the same ones. They are no test set: they say whether two graphs agree, not whether either is right.
    """
    dice = np.random.default_rng(SEED)
    pictures, made = photographs(), []
    for index in range(CROPS):
        picture = pictures[index % len(pictures)]
        side_px = int(min(picture.size) * dice.uniform(LEAST_SIDE_SHARE, 1.0))
        left, top = (int(dice.integers(0, edge - side_px + 1)) for edge in picture.size)
        square = picture.crop((left, top, left + side_px, top + side_px))
        made.append(source.pixels(ImageOps.mirror(square) if index % 2 else square))
    return np.stack(made)
