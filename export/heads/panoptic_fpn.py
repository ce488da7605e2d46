"""Panoptic FPN's things and stuff on one map.

image ─▶ pyramid ─┬─▶ Mask R-CNN ─▶ K masks, surest first ─▶ each takes what is free, or goes if little of it is
                  └─▶ a class for every pixel ─────────────▶ what is still free, where there is much of a class

Source: Kirillov et al. (arXiv:1901.02446), section 3.1, "Panoptic inference", and the earlier arXiv:1801.00868, section
6; thresholds of detectron2, modeling/meta_arch/panoptic_fpn.py, which also says how masks are pasted
(layers/mask_ops.py).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from export.architectures.panoptic_fpn import LOGITS
from export.catalogue.row import Row
from export.heads.coco import THINGS as THING_KINDS
from export.heads.located import Final
from export.heads.two_stage import TwoStageMasks

LEAST_SCORE = 0.5
MASK_THRESHOLD = 0.5
# A thing goes if more than this share of it is taken by surer ones.
MOST_TAKEN = 0.5
# Of stuff there must be that much, in pixels of the input.
LEAST_STUFF_PX = 4096
# The map's value where there is no segment.
NOTHING = 255


class PanopticFpnMaps(TwoStageMasks):
    """class_map, segment_map; then objectness, proposed boxes and the logits of the semantic branch."""

    outputs = ("class_map", "segment_map")
    taps = ("objectness", "points", "stuff_logits")

    def __init__(self, module: Any, row: Row) -> None:
        super().__init__(module.detector, row)
        self.semantic = module.semantic

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        maps = self.module.backbone(self.pixels(image))
        objectness, points = self.anchored(self.proposing(maps))
        aligned = [maps[name] for name in self.map_names]
        boxes, scores, classes = self.things(aligned, objectness, points)
        masks = pasted(self.masks(aligned, boxes, classes), boxes, self.size_hw)  # (N, K, H, W)
        logits = self.semantic(maps)
        stuff = F.interpolate(logits, size=self.size_hw, mode="bilinear", align_corners=False).argmax(1)  # (N, H, W)
        class_map, segment_map = joined(masks >= MASK_THRESHOLD, scores, classes, stuff)
        return class_map, segment_map, objectness, points, logits

    def finals(self) -> tuple[tuple[Final, ...], ...]:
        proposing, (classes, boxes), masks = super().finals()
        # A few are sure of something: a softmax over 81 is, if its logits differ this much.
        sure = Final(classes.layer, 4.0, 0.0, (*classes.shifts, (0, 8.0)))
        stuff = Final(self.semantic.head, 2.0)
        return ((*proposing, stuff), (sure, boxes), masks)


def pasted(masks: Tensor, boxes: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """(N, K, H, W) in 0..1: masks (N, K, h, w) where their boxes (N, K, 4) px are in the picture, 0 elsewhere.

    Bilinear between the centres of a mask's cells, and to nothing beyond them. Sampling a picture along straight rows
    and columns is a product with one matrix for the rows and one for the columns.
    """
    rows = _tents(boxes[..., 1], boxes[..., 3], size_hw[0], masks.shape[-2])  # (N, K, H, h)
    columns = _tents(boxes[..., 0], boxes[..., 2], size_hw[1], masks.shape[-1])  # (N, K, W, w)
    return rows @ masks @ columns.transpose(-1, -2)


def _tents(low: Tensor, high: Tensor, length: int, cells: int) -> Tensor:
    """(N, K, length, cells): how much each cell of a mask counts at each pixel. low, high (N, K) px."""
    centres = torch.arange(length, dtype=low.dtype) + 0.5
    at = (centres - low[..., None]) / (high - low).clamp(min=1e-6)[..., None] * cells - 0.5  # (N, K, length)
    return (1 - (at[..., None] - torch.arange(cells, dtype=low.dtype)).abs()).clamp(min=0)


def joined(masks: Tensor, scores: Tensor, classes: Tensor, stuff: Tensor) -> tuple[Tensor, Tensor]:
    """(class_map, segment_map), each (N, H, W) uint8.

    masks    (N, K, H, W) bool; scores and classes (N, K), surest first
    stuff    (N, H, W) int64: 0 for a thing, 1.. for a kind of stuff
    """
    count = masks.shape[1]
    owner = torch.zeros_like(stuff)  # of every pixel: the number of its thing in that order, from 1
    there = []
    for k in range(count):  # each depends on what those before it have left
        mask = masks[:, k]
        area = mask.flatten(1).sum(1)
        taken = (mask & (owner > 0)).flatten(1).sum(1)
        good = (scores[:, k] >= LEAST_SCORE) & (area > 0) & (taken.to(scores.dtype) <= MOST_TAKEN * area)
        owner = torch.where(mask & (owner == 0) & good[:, None, None], torch.full_like(owner, k + 1), owner)
        there.append(good)
    kinds = torch.arange(LOGITS)
    free = torch.where(owner == 0, stuff, torch.zeros_like(stuff))
    areas = (free[:, None] == kinds[:, None, None]).flatten(2).sum(-1)  # (N, 54)
    much = (areas >= LEAST_STUFF_PX) & (kinds > 0)
    # One table of all segments that there could be: no thing, K things, no stuff, 53 kinds of stuff.
    found = torch.cat([torch.zeros_like(much[:, :1]), torch.stack(there, 1), much], 1)
    numbers = found.to(torch.int64).cumsum(1)
    stuff_classes = (kinds - 1 + THING_KINDS).expand(much.shape[0], -1)
    named = torch.cat([torch.zeros_like(classes[:, :1]), classes, stuff_classes], 1)
    named = torch.where(found, named, torch.full_like(named, NOTHING))
    numbers = torch.where(found, numbers, torch.zeros_like(numbers))
    place = torch.where(owner > 0, owner, free + count + 1).flatten(1)  # (N, H · W)
    class_map, segment_map = (table.gather(1, place).reshape(stuff.shape) for table in (named, numbers))
    return class_map.to(torch.uint8), segment_map.to(torch.uint8)
