"""Where things are: boxes, masks and maps as arrays, and the picture with them drawn on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.client.options import Kind
from service.client.results import Answer, Floats, Ids
from service.drawing import colour_of, draw_detections, draw_legend, paint_map, paint_masks
from service.masks import Mask, pixels_of_rle

Array = TypeVar("Array", bound=NDArray[Any])
BoxXyxy = tuple[float, float, float, float]
# The value of a pixel that the model did not see, or that is of no class that was asked for.
UNSEEN = 255


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing found. `box` is xyxy in pixels of the upright picture; `score` is NaN where the model gives none."""

    label: str
    class_id: int
    score: float
    box: BoxXyxy


@dataclass(frozen=True, eq=False, kw_only=True)
class Located(Answer):
    """What Detections and Segmentation have in common; both can be counted and gone through, thing by thing."""

    things: tuple[Thing, ...]

    def __len__(self) -> int:
        return len(self.things)

    def __iter__(self) -> Iterator[Thing]:
        return iter(self.things)

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(thing.label for thing in self.things)

    @cached_property
    def class_ids(self) -> Ids:
        """(N,) int64."""
        return _fixed(np.array([thing.class_id for thing in self.things], np.int64))

    @cached_property
    def scores(self) -> Floats:
        """(N,) float32 in 0..1; NaN where the model gives none."""
        return _fixed(np.array([thing.score for thing in self.things], np.float32))

    @cached_property
    def boxes_image_px(self) -> Floats:
        """(N, 4) float32: xmin, ymin, xmax, ymax in pixels of the upright picture, inside it."""
        return _fixed(np.array([thing.box for thing in self.things], np.float32).reshape(-1, 4))


@dataclass(frozen=True, eq=False, kw_only=True)
class Detections(Located):
    """The things in the picture, surest first."""

    def overlay(self) -> Image.Image:
        """The upright picture in RGB with the boxes drawn on it, as the gateway's own `overlay=true` draws them."""
        return draw_detections(self.source.image(), self.things, [colour_of(thing.class_id) for thing in self.things])


@dataclass(frozen=True, eq=False, kw_only=True)
class Segmentation(Located):
    """The things with their masks, surest first; or the classes that occur, largest first.

    Masks are decoded when they are asked for, and kept.
    """

    kind: Kind
    areas_px: tuple[int, ...]
    rles: tuple[str, ...] = field(repr=False)

    def mask(self, index: int) -> NDArray[np.bool_]:
        """(H, W) bool: one of the masks, decoded anew."""
        return pixels_of_rle(self.image_hw, self.rles[index])

    @cached_property
    def masks(self) -> NDArray[np.bool_]:
        """(N, H, W) bool. Of a large picture with many things this is large: `mask(i)` is one of them."""
        masks = np.zeros((len(self), *self.image_hw), dtype=bool)
        for index in range(len(self)):
            masks[index] = self.mask(index)
        return _fixed(masks)

    @cached_property
    def class_map(self) -> NDArray[np.uint8] | None:
        """(H, W) uint8: every pixel's class, 255 where there is none or, panoptic, no segment; None for instance."""
        return None if self.kind == "instance" else _fixed(self._painted(self.class_ids, UNSEEN))

    @cached_property
    def segment_map(self) -> NDArray[np.uint8] | None:
        """(H, W) uint8: of every pixel the segment, counted from 1, 0 where there is none; None but for panoptic."""
        if self.kind != "panoptic":
            return None
        return _fixed(self._painted(np.arange(1, len(self) + 1), 0))

    def overlay(self) -> Image.Image:
        """The upright picture in RGB with masks or classes tinted, as the gateway's own `overlay=true` draws them.

        Panoptic, pixels of no segment stay as they are.
        """
        image = self.source.image()
        if self.class_map is None:
            colours = [colour_of(i) for i in range(len(self))]
            masks = [Mask(self.image_hw, (0, 0), self.mask(i)) for i in range(len(self))]
            painted = paint_masks(image, zip(reversed(masks), reversed(colours), strict=True))
            return draw_detections(painted, self.things, colours)
        names = sorted({(thing.class_id, thing.label) for thing in self.things})
        legend = [(label, colour_of(class_id)) for class_id, label in names]
        return draw_legend(paint_map(image, self.class_map, UNSEEN), legend)

    def _painted(self, values: NDArray[np.int64], elsewhere: int) -> NDArray[np.uint8]:
        painted = np.full(self.image_hw, elsewhere, np.uint8)
        for index, value in enumerate(values):
            painted[self.mask(index)] = value
        return painted


def _fixed(array: Array) -> Array:
    array.flags.writeable = False
    return array
