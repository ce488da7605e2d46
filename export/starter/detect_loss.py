"""Which point answers for which person, and what its answer costs."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import generalized_box_iou_loss

CANDIDATES = 9
BOX_WEIGHT = 2.0


def pairwise_iou(boxes: Tensor, truths: Tensor) -> Tensor:
    """boxes (N, P, 4), truths (N, G, 4) → (N, G, P) in 0..1."""
    low = torch.maximum(boxes[:, None, :, :2], truths[:, :, None, :2])
    high = torch.minimum(boxes[:, None, :, 2:], truths[:, :, None, 2:])
    overlap = (high - low).clamp(min=0).prod(-1)  # (N, G, P)
    area = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)[:, None]
    truth_area = (truths[..., 2:] - truths[..., :2]).prod(-1)[:, :, None]
    return overlap / (area + truth_area - overlap).clamp(min=1e-6)


def inside(points: Tensor, truths: Tensor) -> Tensor:
    """points (P, 2), truths (N, G, 4) → (N, G, P) bool."""
    sides = torch.cat([points - truths[:, :, None, :2], truths[:, :, None, 2:] - points], -1)
    return sides.amin(-1) > 0


@torch.no_grad()
def assign(scores: Tensor, boxes: Tensor, points: Tensor, truths: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """(target score (N, P) in 0..1, row of the truth (N, P) int64): points that classify and localise well.

    scores (N, P), boxes (N, P, 4) px, truths (N, G, 4) px, valid (N, G) bool. A score of 0 means background.
    Source: Feng et al. 2021, "TOOD", section 3.2 (alpha 0.5, beta 6).
    """
    iou = pairwise_iou(boxes, truths)
    metric = scores[:, None].sqrt() * iou.pow(6) * (inside(points, truths) & valid[..., None])  # (N, G, P)
    best = metric.topk(CANDIDATES, -1)
    chosen = torch.zeros_like(metric).scatter_(-1, best.indices, (best.values > 0).float()) > 0
    # a point wanted by two people goes to the one it overlaps most
    owner = torch.where(chosen, iou, -torch.ones_like(iou)).argmax(1)  # (N, P)
    chosen &= F.one_hot(owner, truths.shape[1]).transpose(1, 2) > 0
    metric = torch.where(chosen, metric, torch.zeros_like(metric))
    strongest = metric.amax(-1, keepdim=True).clamp(min=1e-12)
    reach = torch.where(chosen, iou, torch.zeros_like(iou)).amax(-1, keepdim=True)
    return (metric / strongest * reach).amax(1), owner


def detection_loss(
    logits: Tensor, boxes: Tensor, points: Tensor, truths: Tensor, valid: Tensor, crowds: Tensor
) -> tuple[Tensor, Tensor]:
    """(score loss, box loss), both per unit of target score; points inside `crowds` (N, P) cost nothing."""
    target, owner = assign(logits.sigmoid(), boxes, points, truths, valid)
    total = target.sum().clamp(min=1.0)
    cost = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    focus = torch.where(target > 0, torch.ones_like(cost), 0.75 * logits.detach().sigmoid().pow(1.5))
    cost = cost * focus * ~(crowds & (target == 0))
    found = target > 0
    if not found.any():
        return cost.sum() / total, boxes.sum() * 0
    wanted = truths.gather(1, owner[..., None].expand(-1, -1, 4))[found]
    giou: Tensor = generalized_box_iou_loss(boxes[found], wanted, reduction="none")
    return cost.sum() / total, BOX_WEIGHT * (giou * target[found]).sum() / total
