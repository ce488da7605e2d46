"""TSP-RCNN's regions as boxes, scores and classes.

image ─▶ pyramid ─▶ 700 proposals ─▶ RoIAlign ─▶ encoder over them all ─▶ suppression in each class ─▶ K things

Source: Edward-Sun/TSP-Detection: rcnn/rcnn_heads.py, my_fast_rcnn_output.py and tsp_rcnn.sh; as there, suppression
follows although the paper's set prediction would not need it.
"""

from __future__ import annotations

from torch import Tensor

from export.architectures.tsp_rcnn import BOX_WEIGHTS
from export.heads.located import Final, clip_px, to_unit
from export.heads.one_stage import decode_deltas
from export.heads.two_stage import TwoStage


class TspRcnnBoxes(TwoStage):
    """boxes, scores, classes; then of every anchor its objectness and proposed box, as Faster R-CNN."""

    def proposing(self, maps: dict[str, Tensor]) -> list[Tensor]:
        return list(maps.values())[1:]  # P2 is only cut from

    def judged(self, maps: list[Tensor], proposals: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        pooled = self.align(maps, proposals, self.roi.box_roi_pool)
        by_picture = pooled.reshape(-1, proposals.shape[1], *pooled.shape[1:])
        logits, deltas = self.roi.judged(by_picture, to_unit(proposals, self.size_hw), there)
        boxes = decode_deltas(deltas, proposals[:, :, None], BOX_WEIGHTS, self.rpn.box_coder.bbox_xform_clip)
        return logits.softmax(-1)[..., :-1], clip_px(boxes, self.size_hw)

    def finals(self) -> tuple[tuple[Final, ...], ...]:
        head, judged = self.rpn.head, self.roi.judged
        proposing = (Final(head.objects.last, 2.0), Final(head.boxes.last, 0.3))
        return (proposing, (Final(judged.logits, 2.0), Final(judged.box[-1], 0.5)))
