"""What the fake engine sees: one thing for each of three colours. So a test knows exactly what must be found where."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.engines.protocol import Pixels

OUTPUTS = ("boxes", "scores", "classes", "masks", "class_map", "segment_map")
# Class 0, 1, 2 and how sure the fake is of them; in a map 0 is the rest, then 1, 2, 3.
COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))
SCORES = (0.9, 0.6, 0.2)
_NEAR = 100


def fill(name: str, row: NDArray[np.generic], picture: Pixels) -> None:
    """Writes one picture's output into `row`: (K, …) for things, (H, W) for maps. `picture` (H, W, 3)."""
    if name.endswith("_map"):
        for number, colour in enumerate(COLOURS, start=1):
            row[_like(picture, colour)] = number
        return
    things = [(i, np.nonzero(_like(picture, colour))) for i, colour in enumerate(COLOURS)]
    for slot, (class_id, (y, x)) in enumerate((i, at) for i, at in things[: len(row)] if len(at[0])):
        height, width = picture.shape[:2]
        box_px = (x.min(), y.min(), x.max() + 1, y.max() + 1)
        if name == "boxes":
            row[slot] = np.array(box_px) / (width, height, width, height)
        elif name == "scores":
            row[slot] = SCORES[class_id]
        elif name == "classes":
            row[slot] = class_id
        else:
            row[slot] = _mask(_like(picture, COLOURS[class_id]), box_px, row.shape[1:])


def _like(picture: Pixels, colour: tuple[int, int, int]) -> NDArray[np.bool_]:
    near: NDArray[np.bool_] = (np.abs(picture.astype(np.int16) - np.array(colour)) < _NEAR).all(axis=2)
    return near


def _mask(inside: NDArray[np.bool_], box_px: tuple[int, int, int, int], cells: tuple[int, ...]) -> NDArray[np.bool_]:
    """(h, w): whether the middle of each cell of the box is inside."""
    left, top, right, bottom = box_px
    y = (top + (np.arange(cells[0]) + 0.5) * (bottom - top) / cells[0]).astype(int)
    x = (left + (np.arange(cells[1]) + 0.5) * (right - left) / cells[1]).astype(int)
    cells_inside: NDArray[np.bool_] = inside[np.ix_(y, x)]
    return cells_inside
