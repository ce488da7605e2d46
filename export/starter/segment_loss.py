"""Cross-entropy that hears rare classes, and the Lovász hinge on what is measured in the end: the Jaccard index."""

import torch
import torch.nn.functional as F
from torch import Tensor

from export.starter.pictures import VOID


def class_weights(pixels: Tensor) -> Tensor:
    """(C,) float32 with mean 1 over the pixels: the inverse square root of each class's share. pixels (C,) counts."""
    share = pixels.float() / pixels.sum()
    weights = share.clamp(min=1e-4).rsqrt()
    return weights / (weights * share).sum()


def lovasz_softmax(probabilities: Tensor, labels: Tensor) -> Tensor:
    """The convex surrogate of 1 - mIoU over the classes present. probabilities (P, C), labels (P,) in 0..C-1.

    Source: Berman et al. 2018, "The Lovász-Softmax loss", algorithm 1.
    """
    losses = []
    for index in torch.unique(labels):
        truth = (labels == index).float()
        errors, order = (truth - probabilities[:, index]).abs().sort(descending=True)
        truth = truth[order]
        remaining = truth.sum() - truth.cumsum(0)
        union = truth.sum() + (1 - truth).cumsum(0)
        jaccard = 1 - remaining / union
        losses.append((errors * torch.diff(jaccard, prepend=jaccard.new_zeros(1))).sum())
    return torch.stack(losses).mean()


def segmentation_loss(logits: Tensor, labels: Tensor, weights: Tensor, lovasz: float, smoothing: float) -> Tensor:
    """logits (N, C, h, w), labels (N, h, w) int64 with void."""
    entropy = F.cross_entropy(logits, labels, weights, ignore_index=VOID, label_smoothing=smoothing)
    if not lovasz:
        return entropy
    known = labels != VOID
    probabilities = logits.softmax(1).permute(0, 2, 3, 1)[known]  # (P, C)
    return entropy + lovasz * lovasz_softmax(probabilities, labels[known])
