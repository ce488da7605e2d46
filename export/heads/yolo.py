"""YOLO's maps as boxes, scores and classes: decoding and suppression inside the graph.

Each (box, class) pair counts for itself with score objectness × class, as in the papers; suppression is within each
class, at the overlap of the authors' code.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from export.architectures.yolo import ANCHORS_V2, ANCHORS_V3, BOXES, CELLS
from export.heads.located import THINGS, Final, OverPixels, clip_px, cxcywh_to_xyxy, take
from export.heads.nms import keep_best

# Source: darknet, examples/detector.c and yolo.c.
IOU_THRESHOLD = 0.45
LEAST_SCORE = 0.005
CANDIDATES = 1000
COUNT = 100


class Yolo(OverPixels):
    """boxes, scores, classes; then of every box its scores by class (N, P, C) and edges (N, P, 4) in 0..1."""

    outputs: ClassVar[tuple[str, ...]] = THINGS
    taps: ClassVar[tuple[str, ...]] = ("class_scores", "points")

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        scores, boxes = self.read(self.pixels(image))
        boxes = clip_px(cxcywh_to_xyxy(boxes), (1, 1))
        flat = torch.where(scores > LEAST_SCORE, scores, torch.zeros_like(scores)).flatten(1)
        best = flat.topk(min(CANDIDATES, flat.shape[1]), 1)
        classes, candidates = best.indices % self.kinds, take(boxes, best.indices // self.kinds)
        index, kept = keep_best(candidates, best.values, classes, self.kinds, IOU_THRESHOLD, COUNT)
        found = take(candidates, index) * (kept > 0)[..., None]
        return found, kept, classes.gather(1, index).to(torch.int32), scores, boxes

    def read(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Of every box: scores (N, P, C) in 0..1; centre and size (N, P, 4) in 0..1 of the input."""
        raise NotImplementedError


class ReadV1(Yolo):
    def read(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Source: arXiv:1506.02640, section 2: centre within its cell, size as the root of the picture's share."""
        maps = self.module(x)  # (N, 7, 7, 10 + C)
        boxes = maps[..., : 5 * BOXES].reshape(-1, CELLS * CELLS, BOXES, 5)
        kinds = maps[..., 5 * BOXES :].reshape(-1, CELLS * CELLS, 1, self.kinds)
        cells = _cells(CELLS, CELLS, maps.dtype).reshape(1, -1, 1, 2)
        centre = (boxes[..., :2] + cells) / CELLS
        scores = (boxes[..., 4:] * kinds).clamp(0, 1)
        return scores.flatten(1, 2), torch.cat([centre, boxes[..., 2:4].square()], -1).flatten(1, 2)

    def finals(self) -> tuple[tuple[Final, ...], ...]:
        return ((Final(self.module.out, 0.25, 0.4),),)


class ReadV2(Yolo):
    def read(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Source: arXiv:1612.08242, section 2, "direct location prediction"; classes by softmax."""
        raw = self.module(x)
        sizes = [(w / raw.shape[-1], h / raw.shape[-2]) for w, h in ANCHORS_V2]
        boxes, objectness, kinds = decode(raw, sizes, self.kinds)
        return objectness * kinds.softmax(-1), boxes

    def finals(self) -> tuple[tuple[Final, ...], ...]:
        return ((Final(self.module.out, 1.5),),)


class ReadV3(Yolo):
    def read(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Source: arXiv:1804.02767, sections 2.1 to 2.3: classes are independent of each other."""
        height, width = self.size_hw
        scores, boxes = [], []
        for raw, anchors in zip(self.module(x), ANCHORS_V3.values(), strict=True):
            sizes = [(w / width, h / height) for w, h in anchors]
            where, objectness, kinds = decode(raw, sizes, self.kinds)
            scores.append(objectness * kinds.sigmoid())
            boxes.append(where)
        return torch.cat(scores, 1), torch.cat(boxes, 1)

    def finals(self) -> tuple[tuple[Final, ...], ...]:
        return (tuple(Final(out, 1.5, -0.5) for out in self.module.outs),)


def decode(raw: Tensor, sizes: list[tuple[float, float]], kinds: int) -> tuple[Tensor, Tensor, Tensor]:
    """A map (N, A · (5 + C), h, w) → boxes (N, P, 4), objectness (N, P, 1), class logits (N, P, C).

    boxes   centre and size in 0..1
    sizes   of each anchor, width and height as shares of the picture
    """
    height, width = raw.shape[-2:]
    cells = raw.reshape(-1, len(sizes), 5 + kinds, height * width).permute(0, 3, 1, 2)  # (N, h · w, A, 5 + C)
    at = _cells(height, width, raw.dtype).reshape(1, -1, 1, 2)
    centre = (cells[..., :2].sigmoid() + at) / torch.tensor([width, height], dtype=raw.dtype)
    size = cells[..., 2:4].exp() * torch.tensor(sizes, dtype=raw.dtype)
    boxes = torch.cat([centre, size], -1).flatten(1, 2)
    return boxes, cells[..., 4:5].sigmoid().flatten(1, 2), cells[..., 5:].flatten(1, 2)


def _cells(height: int, width: int, dtype: torch.dtype) -> Tensor:
    """(h · w, 2): column and row of every cell, row by row."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([columns, rows], -1).reshape(-1, 2).to(dtype)
