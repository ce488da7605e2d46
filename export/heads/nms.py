"""Non-maximum suppression that leaves no data-dependent shape behind, so that the batch stays dynamic.

Eagerly a custom operator, in ONNX one `NonMaxSuppression` whose picks are scattered into a mask of fixed shape.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import torch
from onnxscript import opset18 as op
from torch import Tensor
from torchvision.ops import nms


@torch.library.custom_op("vision_gateway::nms_keep", mutates_args=())
def nms_keep(boxes: Tensor, scores: Tensor, iou_threshold: float, score_threshold: float) -> Tensor:
    """(N, C, P) float32, 1 where a box survives among its class, else 0.

    boxes (N, P, 4) xyxy, scores (N, C, P); only scores above score_threshold take part.
    """
    keep = torch.zeros_like(scores)
    for row in range(scores.shape[0]):
        for group in range(scores.shape[1]):
            candidates = (scores[row, group] > score_threshold).nonzero()[:, 0]
            picked = nms(boxes[row, candidates], scores[row, group, candidates], iou_threshold)
            keep[row, group, candidates[picked]] = 1.0
    return keep


@nms_keep.register_fake
def _(boxes: Tensor, scores: Tensor, iou_threshold: float, score_threshold: float) -> Tensor:
    return torch.empty_like(scores)


def _to_onnx(boxes: Any, scores: Any, iou_threshold: float, score_threshold: float) -> Any:
    def constant(value: Any, kind: type[np.generic]) -> Any:
        return op.Constant(value=onnx.numpy_helper.from_array(np.array(value, kind)))

    picks = op.NonMaxSuppression(
        boxes,
        scores,
        constant([2**31 - 1], np.int64),  # per class: no limit
        constant([iou_threshold], np.float32),
        constant([score_threshold], np.float32),
    )  # (S, 3): row, class, box
    how_many = op.Slice(op.Shape(picks), constant([0], np.int64), constant([1], np.int64))
    ones = op.Expand(constant(1.0, np.float32), how_many)
    nothing = op.Expand(constant(0.0, np.float32), op.Shape(scores))
    return op.ScatterND(nothing, picks, ones)


def translation_table() -> dict[Callable[..., Any], Callable[..., Any]]:
    """What `torch.onnx.export(dynamo=True, custom_translation_table=…)` needs to know the operator."""
    return {torch.ops.vision_gateway.nms_keep.default: _to_onnx}


def nms_keep_op(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """nms_keep as the exporters see it, of every score above 0: (N, C, P), 1 where a box survives."""
    keep: Tensor = torch.ops.vision_gateway.nms_keep(boxes, scores, iou_threshold, 0.0)
    return keep


def keep_best(
    boxes: Tensor, scores: Tensor, groups: Tensor, group_count: int, iou_threshold: float, count: int
) -> tuple[Tensor, Tensor]:
    """(indices (N, K) int64, scores (N, K)) of the best survivors, suppression within each group only.

    boxes (N, P, 4) xyxy, scores (N, P), groups (N, P) int64 in 0..group_count-1; K = min(count, P).
    Empty slots have score 0 and point at boxes to ignore.
    """
    ids = torch.arange(group_count, device=boxes.device)[None, :, None]
    by_group = torch.where(groups[:, None, :] == ids, scores[:, None, :], torch.zeros_like(scores[:, None, :]))
    survives = nms_keep_op(boxes, by_group, iou_threshold).amax(1)  # (N, P)
    best = (scores * survives).topk(min(count, scores.shape[1]), 1)
    return best.indices, best.values
