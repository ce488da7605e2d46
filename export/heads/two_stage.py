"""torchvision's Faster R-CNN and Mask R-CNN with a batch axis.

image ─▶ backbone + FPN ─▶ region proposals ─▶ RoIAlign ─▶ class and box of every proposal ─▶ suppression ─▶ K things
                                                   └────────────── RoIAlign on the K boxes ─▶ masks

The arithmetic is torchvision's (`RegionProposalNetwork`, `RoIHeads`); what is a loop over pictures there has a batch
axis here, and a proposal that is thrown away there stays with score 0, so that no shape depends on the data.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import roi_align
from torchvision.ops.poolers import _setup_scales

from export.catalogue.row import Row
from export.heads.coco import THING_IDS, unused
from export.heads.located import THINGS, Final, OverPixels, clip_px, silent, take, to_unit
from export.heads.nms import keep_best
from export.heads.one_stage import decode_deltas

# The surest (proposal, class) pairs that reach suppression; torchvision lets all above its score threshold through.
# The K-th survivor is far above the last of so many.
CANDIDATES = 3000
# torchvision's least sides in pixels, of a proposal and of a thing.
LEAST_PROPOSAL_PX, LEAST_THING_PX = 1e-3, 1e-2


class TwoStage(OverPixels):
    """boxes, scores, classes; then of every anchor its objectness (N, P) and proposed box (N, P, 4) px."""

    outputs: ClassVar[tuple[str, ...]] = THINGS
    taps: ClassVar[tuple[str, ...]] = ("objectness", "points")
    anchors: Tensor
    ids: Tensor
    levels: Tensor

    def __init__(self, module: Any, row: Row) -> None:
        super().__init__(module, row)
        self.rpn, self.roi = module.rpn, module.roi_heads
        blank = torch.zeros(1, 3, *self.size_hw)
        with torch.no_grad():
            maps = module.backbone(blank)
        proposing = self.proposing(maps)
        (anchors,) = self.rpn.anchor_generator(ImageList(blank, [self.size_hw]), proposing)
        per_cell = self.rpn.anchor_generator.num_anchors_per_location()
        self.per_level = [m.shape[-1] * m.shape[-2] * a for m, a in zip(proposing, per_cell, strict=True)]
        most = self.rpn.pre_nms_top_n()
        self.register_buffer("anchors", anchors)  # (P, 4) xyxy px
        self.register_buffer("ids", torch.tensor(THING_IDS))
        self.register_buffer(
            "levels", torch.cat([torch.full((min(n, most),), i) for i, n in enumerate(self.per_level)])
        )
        self.map_names = [name for name in maps if name in self.roi.box_roi_pool.featmap_names]
        pool = self.roi.box_roi_pool
        self.scales, self.mapper = _setup_scales(
            [maps[name] for name in self.map_names], [self.size_hw], pool.canonical_scale, pool.canonical_level
        )

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        maps = self.module.backbone(self.pixels(image))
        objectness, points = self.anchored(self.proposing(maps))
        boxes, scores, classes = self.things([maps[name] for name in self.map_names], objectness, points)
        return to_unit(boxes, self.size_hw), scores, classes.to(torch.int32), objectness, points

    def proposing(self, maps: dict[str, Tensor]) -> list[Tensor]:
        """The maps that proposals come from: all of the pyramid."""
        return list(maps.values())

    def anchored(self, maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Of every anchor: objectness (N, P) as logits, box (N, P, 4) xyxy px inside the picture."""
        logits, deltas = self.rpn.head(maps)
        objectness = torch.cat([level.permute(0, 2, 3, 1).flatten(1) for level in logits], 1)
        moved = []
        for level in deltas:
            height, width = level.shape[-2:]
            a = level.reshape(-1, level.shape[1] // 4, 4, height, width).permute(0, 3, 4, 1, 2)  # (N, H, W, A, 4)
            moved.append(a.flatten(1, 3))
        coder = self.rpn.box_coder
        boxes = decode_deltas(torch.cat(moved, 1), self.anchors, coder.weights, coder.bbox_xform_clip)
        return objectness, clip_px(boxes, self.size_hw)

    def proposals(self, objectness: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """(boxes (N, R, 4), whether there is one (N, R)).

        Source: torchvision/models/detection/rpn.py, filter_proposals.
        """
        best, start = [], 0
        for size in self.per_level:
            level = objectness[:, start : start + size]
            best.append(level.topk(min(self.rpn.pre_nms_top_n(), size), 1).indices + start)
            start += size
        index = torch.cat(best, 1)  # (N, M)
        boxes, scores = take(points, index), objectness.gather(1, index).sigmoid()
        good = _at_least(boxes, LEAST_PROPOSAL_PX) & (scores >= self.rpn.score_thresh)
        scores = torch.where(good, scores, torch.zeros_like(scores))
        groups = self.levels.expand(scores.shape[0], -1)
        count = self.rpn.post_nms_top_n()
        index, kept = keep_best(boxes, scores, groups, len(self.per_level), self.rpn.nms_thresh, count)
        return take(boxes, index), kept > 0

    def things(self, maps: list[Tensor], objectness: Tensor, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """boxes (N, K, 4) px, scores (N, K), classes (N, K).

        Source: torchvision/models/detection/roi_heads.py, postprocess_detections.
        """
        proposals, there = self.proposals(objectness, points)
        scores, boxes = self.judged(maps, proposals, there)
        good = (scores > self.roi.score_thresh) & _at_least(boxes, LEAST_THING_PX) & there[..., None]
        scores = torch.where(good, scores, torch.zeros_like(scores)).flatten(1)
        best = scores.topk(min(CANDIDATES, scores.shape[1]), 1)
        boxes, classes = take(boxes.flatten(1, 2), best.indices), best.indices % len(THING_IDS)
        count = self.roi.detections_per_img
        index, kept = keep_best(boxes, best.values, classes, len(THING_IDS), self.roi.nms_thresh, count)
        return take(boxes, index) * (kept > 0)[..., None], kept, classes.gather(1, index)

    def judged(self, maps: list[Tensor], proposals: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """Of every proposal, of each class in turn: score (N, R, 80), box (N, R, 80, 4) px inside the picture.

        proposals (N, R, 4) px, there (N, R): whether there is one.
        """
        count = proposals.shape[1]
        pooled = self.align(maps, proposals, self.roi.box_roi_pool)
        logits, deltas = self.roi.box_predictor(self.roi.box_head(pooled))
        scores = logits.softmax(-1)[:, self.ids].reshape(-1, count, len(THING_IDS))
        deltas = deltas.reshape(-1, count, logits.shape[-1], 4)[:, :, self.ids]
        coder = self.roi.box_coder
        boxes = decode_deltas(deltas, proposals[:, :, None], coder.weights, coder.bbox_xform_clip)
        return scores, clip_px(boxes, self.size_hw)

    def align(self, maps: list[Tensor], boxes: Tensor, pool: Any) -> Tensor:
        """(N · R, C, h, w): each box cut out of the map of its size.

        torchvision sorts the boxes by map, which makes shapes depend on the data. Here the maps stand below each other
        on one canvas and every box goes to its own map's place on it. RoIAlign takes what lies beyond the centres of
        the last row and column to be like them, which on the canvas is a copy of both, and what lies beyond the map to
        be zero: a box smaller than a cell may reach that far. So every sample is taken alone, and counted if it is
        inside.
        Source: FPN (arXiv:1612.03144), equation 1; torchvision's LevelMapper.
        """
        width = max(one.shape[-1] for one in maps) + 1
        parts = [F.pad(F.pad(one, (0, 1, 0, 1), "replicate"), (0, width - one.shape[-1] - 1)) for one in maps]
        starts = [sum(part.shape[-2] for part in parts[:i]) for i in range(len(parts))]
        mapper = self.mapper
        sides = boxes[..., 2:] - boxes[..., :2]
        level = mapper.lvl0 + torch.log2((sides[..., 0] * sides[..., 1]).sqrt() / mapper.s0)
        level = (level + torch.tensor(mapper.eps, dtype=level.dtype)).floor().clamp(mapper.k_min, mapper.k_max)
        at = (level - mapper.k_min).to(torch.int64)  # (N, R)
        scaled = boxes * torch.tensor(self.scales, dtype=boxes.dtype)[at][..., None]
        start = torch.tensor(starts, dtype=boxes.dtype)[at]
        zero = torch.zeros_like(start)
        placed = scaled + torch.stack([zero, start, zero, start], -1)
        rows = torch.arange(boxes.shape[0], dtype=boxes.dtype)[:, None, None].expand(-1, boxes.shape[1], 1)
        rois = torch.cat([rows, placed], -1).reshape(-1, 5)
        samples = pool.output_size[0] * pool.sampling_ratio
        cut: Tensor = roi_align(torch.cat(parts, 2), rois, samples, 1.0, 1)
        inside = [
            _inside(scaled, axis, torch.tensor([one.shape[-1 - axis] for one in maps])[at], samples) for axis in (0, 1)
        ]
        cut = cut * (inside[1][:, None, :, None] * inside[0][:, None, None, :])
        return F.avg_pool2d(cut, pool.sampling_ratio)

    def finals(self) -> tuple[tuple[Final, ...], ...]:
        box = self.roi.box_predictor
        never = silent(unused(91, THING_IDS, (0,)))
        proposing = (Final(self.rpn.head.cls_logits, 2.0), Final(self.rpn.head.bbox_pred, 0.3))
        return (proposing, (Final(box.cls_score, 2.0, 0.0, never), Final(box.bbox_pred, 0.5)))


class TwoStageMasks(TwoStage):
    """boxes, scores, classes, masks (N, K, 28, 28); then the same taps."""

    outputs: ClassVar[tuple[str, ...]] = (*THINGS, "masks")

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        maps = self.module.backbone(self.pixels(image))
        objectness, points = self.anchored(self.proposing(maps))
        aligned = [maps[name] for name in self.map_names]
        boxes, scores, classes = self.things(aligned, objectness, points)
        masks = self.masks(aligned, boxes, classes)
        return to_unit(boxes, self.size_hw), scores, classes.to(torch.int32), masks, objectness, points

    def masks(self, maps: list[Tensor], boxes: Tensor, classes: Tensor) -> Tensor:
        """(N, K, 28, 28) in 0..1: of each box the mask of its class."""
        cut = self.align(maps, boxes, self.roi.mask_roi_pool)
        logits = self.roi.mask_predictor(self.roi.mask_head(cut))[:, self.ids]  # (N · K, 80, 28, 28)
        side = logits.shape[-1]
        mine = classes.reshape(-1, 1, 1, 1).expand(-1, 1, side, side)
        masks: Tensor = logits.gather(1, mine).sigmoid()
        return masks.reshape(-1, boxes.shape[1], side, side)

    def finals(self) -> tuple[tuple[Final, ...], ...]:
        return (*super().finals(), (Final(self.roi.mask_predictor.mask_fcn_logits, 2.0),))


def _inside(boxes: Tensor, axis: int, limit: Tensor, samples: int) -> Tensor:
    """(N · R, samples), 1 where a sample lies on the map. boxes (N, R, 4) and limit (N, R) in cells; axis 0 is x."""
    start, length = boxes[..., axis], (boxes[..., axis + 2] - boxes[..., axis]).clamp(min=1.0)
    step = (torch.arange(samples, dtype=boxes.dtype) + 0.5) / samples
    at = start[..., None] + length[..., None] * step  # (N, R, samples)
    return (at <= limit[..., None]).to(boxes.dtype).flatten(0, 1)


def _at_least(boxes: Tensor, side_px: float) -> Tensor:
    """(...): whether both sides of the boxes (..., 4) are that long."""
    good: Tensor = (boxes[..., 2:] - boxes[..., :2] >= side_px).all(-1)
    return good
