"""R-CNN and Fast R-CNN on windows that are the same for every picture.

windows ─▶ class and box of every window ─▶ suppression within each class ─▶ K things

Both papers take their regions from selective search, which is no part of the network. Here a fixed grid of windows
stands in for it, so that the graph has one input like every other: docs/decisions.md says at what price.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from export.architectures.rcnn import FastRcnn
from export.catalogue.row import Row
from export.heads.located import THINGS, Final, OverPixels, clip_px, take, to_unit
from export.heads.nms import keep_best
from export.heads.one_stage import decode_deltas

RATIOS = (0.5, 1.0, 2.0)
# Sides as shares of the picture's: fewer for R-CNN, which runs its whole network once a window.
FAST_SHARES, SLOW_SHARES = (1 / 8, 1 / 4, 1 / 2, 1.0), (1 / 3, 2 / 3, 1.0)
IOU_THRESHOLD = 0.3
LEAST_SCORE = 0.05
COUNT = 100
# Deltas grow a box by no more than this: as torchvision's, log(1000 / 16).
MOST_GROWTH = 4.135


class Windows(OverPixels):
    """boxes, scores, classes; then of every window its logits (N, R, C) and boxes by class (N, R · C, 4) px.

    Scores are a softmax's probabilities, or for R-CNN the sigmoid of an SVM's margin: an order, not a probability.
    """

    outputs: ClassVar[tuple[str, ...]] = THINGS
    taps: ClassVar[tuple[str, ...]] = ("logits", "points")
    windows: Tensor

    def __init__(self, module: Any, row: Row) -> None:
        super().__init__(module, row)
        self.fast = isinstance(module, FastRcnn)
        self.register_buffer("windows", grid(self.size_hw, FAST_SHARES if self.fast else SLOW_SHARES))  # (R, 4) px

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        x = self.pixels(image)
        count, pictures = self.windows.shape[0], x.shape[0]
        rows = torch.arange(pictures, dtype=x.dtype)[:, None, None].expand(-1, count, 1)
        rois = torch.cat([rows, self.windows.expand(pictures, -1, -1)], -1).reshape(-1, 5)
        logits, deltas = self.module(x, rois)
        every = logits.shape[-1]
        logits, deltas = logits.reshape(-1, count, every), deltas.reshape(-1, count, every, 4)
        if self.fast:
            scores, deltas = logits.softmax(-1)[..., 1:], deltas[:, :, 1:]
        else:
            scores = logits.sigmoid()
        weights = (10.0, 10.0, 5.0, 5.0) if self.fast else (1.0, 1.0, 1.0, 1.0)
        points = clip_px(decode_deltas(deltas, self.windows[:, None], weights, MOST_GROWTH), self.size_hw).flatten(1, 2)
        flat = torch.where(scores > LEAST_SCORE, scores, torch.zeros_like(scores)).flatten(1)  # (N, R · C)
        best = flat.topk(min(1000, flat.shape[1]), 1)
        classes, candidates = best.indices % self.kinds, take(points, best.indices)
        index, kept = keep_best(candidates, best.values, classes, self.kinds, IOU_THRESHOLD, COUNT)
        boxes = to_unit(take(candidates, index), self.size_hw) * (kept > 0)[..., None]
        return boxes, kept, classes.gather(1, index).to(torch.int32), logits, points

    def finals(self) -> tuple[tuple[Final, ...], ...]:
        if self.fast:
            return ((Final(self.module.scores, 2.0), Final(self.module.boxes, 1.0)),)
        return ((Final(self.module.svm, 1.5, -2.0), Final(self.module.boxes, 0.2)),)


def grid(size_hw: tuple[int, int], shares: tuple[float, ...]) -> Tensor:
    """(R, 4) xyxy px: windows of every share and shape, half of one beside the next, cut to the picture."""
    found: list[Tensor] = []
    height, width = size_hw
    for share in shares:
        steps = max(1, round(2 / share) - 1)
        at = (torch.arange(steps) + 1) / (steps + 1) if share < 1 else torch.tensor([0.5])
        rows, columns = torch.meshgrid(at, at, indexing="ij")
        for ratio in RATIOS if share < 1 else (1.0,):
            half = torch.tensor([share * ratio**0.5, share / ratio**0.5]) / 2
            centre = torch.stack([columns, rows], -1).reshape(-1, 2)
            boxes = torch.cat([centre - half, centre + half], -1).clamp(0, 1)
            found.append(boxes * torch.tensor([width, height, width, height]))
    return torch.cat(found)
