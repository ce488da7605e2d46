"""Transformers that answer with one thing per query: DETR and Deformable DETR. No suppression: queries do not repeat.

image ─▶ network ─▶ class logits (N, Q, C) and boxes (N, Q, 4), centre and size in 0..1 ─▶ the K surest

The selection is transformers' own (`post_process_object_detection`), without its threshold.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from export.catalogue.row import Row
from export.heads.coco import THING_IDS, unused
from export.heads.located import THINGS, Final, OverPixels, cxcywh_to_xyxy, silent, take


class Queries(OverPixels):
    """boxes, scores, classes of all queries; then the class logits and the boxes as the network gives them."""

    outputs = THINGS
    taps = ("logits", "points")
    ids: Tensor

    def __init__(self, module: Any, row: Row) -> None:
        super().__init__(module, row)
        self.register_buffer("ids", torch.tensor(THING_IDS))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        raw = self.module(self.pixels(image))
        boxes, scores, classes = self.select(raw.logits, cxcywh_to_xyxy(raw.pred_boxes))
        return boxes.clamp(0, 1), scores, classes.to(torch.int32), raw.logits, raw.pred_boxes

    def select(self, logits: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Each query is one thing of its likeliest class; the last logit is for no thing at all."""
        best = logits.softmax(-1)[..., self.ids].max(-1)
        return boxes, best.values, best.indices

    def finals(self) -> tuple[tuple[Final, ...], ...]:
        boxes = self.module.bbox_predictor.layers[-1]
        never = silent(unused(92, THING_IDS, (91,)))
        return ((Final(self.module.class_labels_classifier, 2.0, 0.0, never), Final(boxes, 1.0, -0.5)),)


class DeformableQueries(Queries):
    """The same with sigmoids: the K surest (query, class) pairs, so that a query may be two things."""

    count = 100

    def select(self, logits: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Source: transformers, image_processing_deformable_detr.py, post_process_object_detection."""
        scores = logits.sigmoid()[..., self.ids]  # (N, Q, 80)
        best = scores.flatten(1).topk(self.count, 1)
        kinds = len(THING_IDS)
        return take(boxes, best.indices // kinds), best.values, best.indices % kinds

    def finals(self) -> tuple[tuple[Final, ...], ...]:
        never = silent(unused(91, THING_IDS))
        classes = self.module.class_embed
        if not self.module.config.two_stage:
            return ((Final(classes[-1], 1.5, -4.0, never),),)
        # The decoder's last one tells, by its first class, which places of the picture become queries.
        proposals = self.module.model.decoder.class_embed[-1]
        return ((Final(proposals, 1.5, -4.0),), (Final(classes[-2], 1.5, -4.0, never),))
