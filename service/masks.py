"""Masks as they travel: COCO run lengths, polygons, PNG. Pure functions of arrays.

A mask is a rectangle of pixels somewhere in a picture, so that fifty small masks of a large picture cost little.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.outlines import outlines, simplified

# How far a polygon may be from the true outline, in pixels.
POLYGON_TOLERANCE_PX = 1.0
# zlib's fastest: maps are flat, and time matters more than the last tenth of their size.
_PNG_LEVEL = 1


@dataclass(frozen=True, slots=True)
class Mask:
    """Pixels of a picture. `pixels` (h, w) bool lies with its first pixel at `top_left`; all others are outside."""

    image_hw: tuple[int, int]
    top_left: tuple[int, int]
    pixels: NDArray[np.bool_]

    @property
    def area_px(self) -> int:
        return int(np.count_nonzero(self.pixels))

    def whole(self) -> NDArray[np.bool_]:
        """(H, W) bool: the mask in the whole picture."""
        picture = np.zeros(self.image_hw, dtype=bool)
        top, left = self.top_left
        picture[top : top + self.pixels.shape[0], left : left + self.pixels.shape[1]] = self.pixels
        return picture


def rle_counts(mask: Mask) -> str:
    """COCO's compressed run lengths: with `size` [H, W], pycocotools decodes them to exactly the mask."""
    starts, ends = _runs(mask)
    edges = np.empty(2 * len(starts) + 2, dtype=np.int64)  # 0, start, end, start, end, …, H·W
    edges[0], edges[-1] = 0, mask.image_hw[0] * mask.image_hw[1]
    edges[1:-1:2], edges[2:-1:2] = starts, ends
    counts = np.diff(edges)
    # A mask that reaches the last pixel ends with ones; pycocotools writes no empty run behind them.
    return _packed(counts[:-1] if len(counts) > 1 and counts[-1] == 0 else counts)


def pixels_of_rle(size_hw: tuple[int, int], counts: str) -> NDArray[np.bool_]:
    """(H, W) bool: the mask that `rle_counts` or COCO's own code wrote. Raises ValueError if it has another size."""
    lengths = _unpacked(counts)  # (R,): outside, inside, outside, …
    height, width = size_hw
    if (lengths < 0).any() or lengths.sum() != height * width:
        raise ValueError(f"these run lengths do not make a mask of {height}×{width} pixels")
    inside = np.arange(len(lengths)) % 2 == 1
    return np.repeat(inside, lengths).reshape(width, height).T


@dataclass(frozen=True, slots=True)
class MapRuns:
    """A map (H, W) as runs of one value down its columns: (R,) first pixel, pixel behind the last, value."""

    image_hw: tuple[int, int]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    values: NDArray[np.uint8]

    def present(self) -> list[int]:
        """The values that occur, lowest first."""
        return [int(value) for value in np.unique(self.values)]

    def area_px(self, value: int) -> int:
        mine = self.values == value
        return int((self.ends[mine] - self.starts[mine]).sum())

    def box(self, value: int) -> tuple[int, int, int, int]:
        """xyxy of the smallest box around the pixels of a value that occurs."""
        mine, height = self.values == value, self.image_hw[0]
        first, last = self.starts[mine], self.ends[mine] - 1
        one_column = first // height == last // height
        top = np.where(one_column, first % height, 0).min()
        bottom = np.where(one_column, last % height, height - 1).max()
        return int(first.min() // height), int(top), int(last.max() // height) + 1, int(bottom) + 1

    def rle_counts(self, value: int) -> str:
        """As `rle_counts` of the mask of all pixels with that value."""
        mine = self.values == value
        edges = np.zeros(2 * int(mine.sum()) + 2, dtype=np.int64)
        edges[1:-1:2], edges[2:-1:2] = self.starts[mine], self.ends[mine]
        edges[-1] = self.image_hw[0] * self.image_hw[1]
        counts = np.diff(edges)
        return _packed(counts[:-1] if counts[-1] == 0 else counts)


def map_runs(values: NDArray[np.uint8]) -> MapRuns:
    """The runs of the (H, W) map, found in one pass over it."""
    flat = values.T.ravel()  # column by column, as COCO counts
    starts = np.concatenate(([0], np.flatnonzero(flat[1:] != flat[:-1]) + 1)).astype(np.int64)
    return MapRuns((values.shape[0], values.shape[1]), starts, np.append(starts[1:], flat.size), flat[starts])


def polygons(mask: Mask) -> list[list[float]]:
    """Rings as [x1, y1, x2, y2, …] in pixels of the picture, where pixel (0, 0) covers 0..1; holes are rings too.

    Filled by the even-odd rule they are the mask, up to POLYGON_TOLERANCE_PX (Douglas-Peucker) from its outline.
    """
    top, left = mask.top_left
    rings = (simplified(ring, POLYGON_TOLERANCE_PX) for ring in outlines(mask.pixels))
    return [(ring + np.array((left, top))).astype(float).ravel().tolist() for ring in rings]


def png_of_mask(mask: Mask) -> bytes:
    """A PNG of the picture's size with one bit a pixel: white is inside."""
    return _png(Image.fromarray(mask.whole()))


def png_of_map(values: NDArray[np.uint8], palette: NDArray[np.uint8]) -> bytes:
    """A palette PNG whose pixel values are the map's, and whose colours are `palette` (256, 3) uint8."""
    image = Image.fromarray(values)
    image.putpalette(palette.tobytes())  # turns it into mode P, values untouched
    return _png(image)


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=_PNG_LEVEL)
    return file.getvalue()


def _runs(mask: Mask) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Start and end of every run of ones in the picture, counted down its columns; only the rectangle is looked at."""
    height, (top, left) = mask.image_hw[0], mask.top_left
    columns = np.zeros((mask.pixels.shape[1], mask.pixels.shape[0] + 2), dtype=np.int8)  # (w, h + 2), zeros around
    columns[:, 1:-1] = mask.pixels.T
    steps = np.diff(columns, axis=1)  # (w, h + 1)
    column, row = np.nonzero(steps == 1)
    starts = (column + left) * height + row + top
    column, row = np.nonzero(steps == -1)
    ends = (column + left) * height + row + top
    # A run that reaches the picture's lower edge goes on at the top of the next column.
    joined = starts[1:] == ends[:-1]
    keep_start, keep_end = np.append(True, ~joined), np.append(~joined, True)
    if not len(starts):
        return starts.astype(np.int64), ends.astype(np.int64)
    return starts[keep_start].astype(np.int64), ends[keep_end].astype(np.int64)


def _packed(counts: NDArray[np.int64]) -> str:
    """Run lengths as COCO's string: from the fourth on the difference to the one before last, in 5-bit groups.

    Source: cocoapi, common/maskApi.c, rleToString; here for all numbers at once.
    """
    numbers = counts.copy()
    numbers[3:] -= counts[1:-2]
    # Groups from the lowest on; the last one is where what remains is only its sign.
    shifted = numbers[:, None] >> (5 * np.arange(8))  # (R, 8), arithmetic
    groups = shifted & 0x1F
    rest = numbers[:, None] >> (5 * np.arange(1, 9))
    more = np.where((groups & 0x10) != 0, rest != -1, rest != 0)  # (R, 8)
    used = np.ones_like(more)
    used[:, 1:] = np.logical_and.accumulate(more[:, :-1], axis=1)
    characters = (groups | np.where(more, 0x20, 0)) + 48
    text: bytes = characters[used].astype(np.uint8).tobytes()
    return text.decode("ascii")


def _unpacked(counts: str) -> NDArray[np.int64]:
    """The inverse of `_packed`. Source: cocoapi, common/maskApi.c, rleFrString."""
    groups = np.frombuffer(counts.encode("ascii"), np.uint8).astype(np.int64) - 48  # (G,)
    last = (groups & 0x20) == 0
    if not len(groups) or groups.min() < 0 or groups.max() > 0x3F or not last[-1]:
        raise ValueError("these are no run lengths")
    first = np.flatnonzero(np.append(True, last[:-1]))  # (R,), where each number begins
    place = np.arange(len(groups)) - np.repeat(first, np.diff(np.append(first, len(groups))))
    if place.max() > 7:
        raise ValueError("these are no run lengths")
    numbers = np.add.reduceat((groups & 0x1F) << (5 * place), first)
    negative = (groups[last] & 0x10) != 0
    numbers = np.where(negative, numbers - (1 << (5 * (place[last] + 1))), numbers)
    # From the fourth on each is the difference to the one before last: two interleaved running sums.
    lengths: NDArray[np.int64] = numbers.copy()
    lengths[1::2] = np.cumsum(numbers[1::2])
    lengths[2::2] = np.cumsum(numbers[2::2])
    return lengths
