"""MobileDet's anchors as boxes, scores and classes: decoding and suppression inside the graph.

Each (anchor, class) pair counts for itself with the sigmoid of its logit; suppression is within each class. Source:
tensorflow/models, research/object_detection: box_coders/faster_rcnn_box_coder.py and
samples/configs/ssdlite_mobiledet_cpu_320x320_coco_sync_4x4.config, post_processing.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from export.architectures.mobiledet import CLASS_SLOTS, anchors
from export.catalogue.row import Row
from export.heads.coco import THING_IDS, repeated, unused
from export.heads.located import THINGS, Final, OverPixels, clip_px, silent, take
from export.heads.nms import keep_best
from export.heads.one_stage import decode_deltas

WEIGHTS = (10.0, 10.0, 5.0, 5.0)
IOU_THRESHOLD = 0.6
# The authors let all pairs reach suppression; the hundredth survivor is far above the last of so many.
CANDIDATES = 1000
COUNT = 100
# The authors have no limit. At this one the smallest anchor is six times the picture.
MOST_GROWTH = 4.135


class MobileDetBoxes(OverPixels):
    """boxes, scores, classes; then of every anchor its logits (N, P, 91) and box (N, P, 4) in 0..1."""

    outputs: ClassVar[tuple[str, ...]] = THINGS
    taps: ClassVar[tuple[str, ...]] = ("logits", "points")
    anchors: Tensor
    ids: Tensor

    def __init__(self, module: Any, row: Row) -> None:
        super().__init__(module, row)
        with torch.no_grad():
            maps = module.maps(torch.zeros(1, 3, *row.resize.size_hw))
        self.register_buffer("anchors", anchors([(one.shape[-2], one.shape[-1]) for one in maps]))
        self.register_buffer("ids", torch.tensor(THING_IDS))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        logits, deltas = self.module(self.pixels(image))
        points = clip_px(decode_deltas(deltas, self.anchors, WEIGHTS, MOST_GROWTH), (1, 1))  # (N, P, 4)
        flat = logits[..., self.ids].sigmoid().flatten(1)  # (N, P · 80)
        best = flat.topk(min(CANDIDATES, flat.shape[1]), 1)
        classes, candidates = best.indices % len(THING_IDS), take(points, best.indices // len(THING_IDS))
        index, kept = keep_best(candidates, best.values, classes, len(THING_IDS), IOU_THRESHOLD, COUNT)
        boxes = take(candidates, index) * (kept > 0)[..., None]
        return boxes, kept, classes.gather(1, index).to(torch.int32), logits, points

    def finals(self) -> tuple[tuple[Final, ...], ...]:
        return ((*map(_sure, self.module.scores), *(Final(layer[-1], 0.5) for layer in self.module.boxes)),)


def _sure(predictor: Any) -> Final:
    """A sigmoid's logits, most of them far below zero."""
    layer = predictor[-1]
    kinds = layer.out_channels // CLASS_SLOTS
    return Final(layer, 1.5, -6.0, silent(repeated(unused(CLASS_SLOTS, THING_IDS), CLASS_SLOTS, kinds)))
