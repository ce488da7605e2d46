"""torchvision's one-stage detectors with a batch axis: SSD, RetinaNet, FCOS.

image ─▶ backbone ─▶ head ─▶ scores and boxes of every anchor ─▶ best few ─▶ suppression within each class ─▶ K things

The selection is torchvision's own (`postprocess_detections`), without its loops over pictures and classes. Categories
that COCO numbers but does not have are left out before it; a trained network never names them.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from export.catalogue.row import Row
from export.heads.coco import THING_IDS, repeated, unused
from export.heads.located import THINGS, Final, OverPixels, clip_px, silent, take, to_unit
from export.heads.nms import keep_best, nms_keep_op


class OneStage(OverPixels):
    """boxes, scores, classes; then the logits (N, P, 91) and boxes (N, P, 4) px of every anchor."""

    outputs: ClassVar[tuple[str, ...]] = THINGS
    taps: ClassVar[tuple[str, ...]] = ("logits", "points")
    anchors: Tensor
    ids: Tensor

    def __init__(self, module: Any, row: Row) -> None:
        super().__init__(module, row)
        self.count = int(module.detections_per_img)
        self.register_buffer("ids", torch.tensor(THING_IDS))
        blank = torch.zeros(1, 3, *self.size_hw)
        with torch.no_grad():
            maps = list(module.backbone(blank).values())
        (anchors,) = module.anchor_generator(ImageList(blank, [self.size_hw]), maps)
        self.register_buffer("anchors", anchors)  # (P, 4) xyxy px
        self.per_level = tuple(self._anchors_at(m) for m in maps)

    def _anchors_at(self, level: Tensor) -> int:
        return int(level.shape[-1] * level.shape[-2] * self.module.anchor_generator.num_anchors_per_location()[0])

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        raw = self.module.head(list(self.module.backbone(self.pixels(image)).values()))
        points = self.decode(raw["bbox_regression"])  # (N, P, 4)
        index, classes, scores = self.select(self.scores(raw), points)
        boxes = to_unit(take(points, index), self.size_hw) * (scores > 0)[..., None]
        return boxes, scores, classes.to(torch.int32), self.tapped(raw), points

    def scores(self, raw: dict[str, Tensor]) -> Tensor:
        """(N, P, 80) in 0..1."""
        return raw["cls_logits"].sigmoid()[..., self.ids]

    def tapped(self, raw: dict[str, Tensor]) -> Tensor:
        return raw["cls_logits"]

    def decode(self, deltas: Tensor) -> Tensor:
        """(N, P, 4) xyxy px of the model's input, inside it."""
        coder = self.module.box_coder
        return clip_px(decode_deltas(deltas, self.anchors, coder.weights, coder.bbox_xform_clip), self.size_hw)

    def select(self, scores: Tensor, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(points' indices, classes, scores), each (N, K): the best of each level, then suppression.

        Source: torchvision/models/detection/retinanet.py and fcos.py, postprocess_detections.
        """
        kinds, start = scores.shape[-1], 0
        best, places = [], []
        for size in self.per_level:
            level = scores[:, start : start + size].flatten(1)  # (N, size · 80)
            top = level.topk(min(self.module.topk_candidates, size * kinds), 1)
            best.append(top.values)
            places.append(top.indices + start * kinds)
            start += size
        value, place = torch.cat(best, 1), torch.cat(places, 1)  # (N, M)
        value = torch.where(value > self.module.score_thresh, value, torch.zeros_like(value))
        point, kind = place // kinds, place % kinds
        index, kept = keep_best(take(points, point), value, kind, kinds, self.module.nms_thresh, self.count)
        return point.gather(1, index), kind.gather(1, index), kept

    def finals(self) -> tuple[tuple[Final, ...], ...]:
        head = self.module.head
        logits, boxes = head.classification_head.cls_logits, head.regression_head.bbox_reg
        return ((_sure(logits), Final(boxes, 0.5)),)


class Fcos(OneStage):
    """The same with a centerness, whose logits (N, P, 1) are a tap of its own, and boxes as distances to four edges."""

    taps = ("logits", "points", "centerness")

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        raw = self.module.head(list(self.module.backbone(self.pixels(image)).values()))
        points = self.decode(raw["bbox_regression"])
        index, classes, scores = self.select(self.scores(raw), points)
        boxes = to_unit(take(points, index), self.size_hw) * (scores > 0)[..., None]
        return boxes, scores, classes.to(torch.int32), raw["cls_logits"], points, raw["bbox_ctrness"]

    def scores(self, raw: dict[str, Tensor]) -> Tensor:
        return (raw["cls_logits"].sigmoid()[..., self.ids] * raw["bbox_ctrness"].sigmoid()).sqrt()

    def decode(self, deltas: Tensor) -> Tensor:
        """Source: torchvision/models/detection/_utils.py, BoxLinearCoder with sizes of the anchors as the unit."""
        low, high = self.anchors[:, :2], self.anchors[:, 2:]
        centre, size = (low + high) / 2, high - low
        return clip_px(torch.cat([centre - deltas[..., :2] * size, centre + deltas[..., 2:] * size], -1), self.size_hw)

    def finals(self) -> tuple[tuple[Final, ...], ...]:
        head = self.module.head
        boxes, centre = head.regression_head.bbox_reg, head.regression_head.bbox_ctrness
        return ((_sure(head.classification_head.cls_logits), Final(boxes, 1.0, 2.0), Final(centre, 1.0, 1.0)),)


class Ssd(OneStage):
    """The same with softmax, and the best few of each class instead of each level."""

    def _anchors_at(self, level: Tensor) -> int:
        return 0  # the selection does not go by level

    def scores(self, raw: dict[str, Tensor]) -> Tensor:
        return raw["cls_logits"].softmax(-1)[..., self.ids]

    def select(self, scores: Tensor, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Source: torchvision/models/detection/ssd.py, postprocess_detections."""
        by_class = scores.transpose(1, 2)  # (N, 80, P)
        candidates = min(self.module.topk_candidates, by_class.shape[2])
        least = by_class.topk(candidates, 2).values[..., -1:]
        good = (by_class >= least) & (by_class > self.module.score_thresh)
        by_class = torch.where(good, by_class, torch.zeros_like(by_class))
        survives = nms_keep_op(points, by_class, self.module.nms_thresh)  # (N, 80, P)
        best = (by_class * survives).flatten(1).topk(self.count, 1)
        place = points.shape[1]
        return best.indices % place, best.indices // place, best.values

    def finals(self) -> tuple[tuple[Final, ...], ...]:
        head = self.module.head
        return ((*map(_peaked, _last_layers(head.classification_head)), *_boxes(head.regression_head)),)


def decode_deltas(
    deltas: Tensor, boxes: Tensor, weights: tuple[float, float, float, float], most_growth: float
) -> Tensor:
    """(..., 4) xyxy: the boxes moved and scaled by deltas (dx, dy, dw, dh).

    Source: Faster R-CNN (arXiv:1506.01497), equation 2; torchvision's BoxCoder.decode_single.
    """
    size = boxes[..., 2:] - boxes[..., :2]
    centre = boxes[..., :2] + 0.5 * size
    dx, dy = deltas[..., 0] / weights[0], deltas[..., 1] / weights[1]
    dw, dh = (deltas[..., 2] / weights[2]).clamp(max=most_growth), (deltas[..., 3] / weights[3]).clamp(max=most_growth)
    moved = centre + torch.stack([dx, dy], -1) * size
    half = 0.5 * torch.stack([dw, dh], -1).exp() * size
    return torch.cat([moved - half, moved + half], -1)


def _sure(layer: nn.Module) -> Final:
    """A sigmoid's logits, most of them far below zero."""
    classes = 91
    anchors = _channels(layer) // classes
    return Final(layer, 1.5, -6.0, silent(repeated(unused(classes, THING_IDS), classes, anchors)))


def _peaked(layer: nn.Module) -> Final:
    """A softmax's logits."""
    classes = 91
    anchors = _channels(layer) // classes
    return Final(layer, 2.0, 0.0, silent(repeated(unused(classes, THING_IDS, (0,)), classes, anchors)))


def _boxes(head: nn.Module) -> list[Final]:
    return [Final(layer, 0.5) for layer in _last_layers(head)]


def _last_layers(head: Any) -> list[nn.Module]:
    """The last convolution on each map: itself, or the end of a depthwise block."""
    return [level[-1] if isinstance(level, nn.Sequential) else level for level in head.module_list]


def _channels(layer: nn.Module) -> int:
    out = layer.out_channels if isinstance(layer, nn.Conv2d) else layer.out_features
    assert isinstance(out, int)  # noqa: S101 - for the type checker
    return out
