"""R-CNN and Fast R-CNN: what is done with a region once somebody has proposed it.

R-CNN       every region is warped to 227×227 and goes through AlexNet by itself; one SVM a class on fc7, one box
            regression a class on pool5
Fast R-CNN  the picture goes through VGG-16 once; every region is pooled out of its last map to 7×7

Sources: arXiv:1311.2524, sections 2 and C (and A for the 16 px of context around a warped region); arXiv:1504.08083,
sections 2.1 and 3.1.
"""

from __future__ import annotations

import torch
import torchvision
from torch import Tensor, nn
from torchvision.ops import roi_align, roi_pool

WARPED_PX, CONTEXT_PX = 227, 16
POOLED, STRIDE = 7, 16


class Rcnn(nn.Module):
    """x (N, 3, H, W), rois (R, 5) of (row of the batch, xyxy px) → margins (R, C), deltas (R, 4 · C)."""

    def __init__(self, classes: int = 20) -> None:
        super().__init__()
        body = torchvision.models.alexnet(weights=None)
        self.features, self.pool5 = body.features, body.avgpool
        self.full = nn.Sequential(*list(body.classifier.children())[:-1])
        self.svm = nn.Linear(4096, classes)
        self.boxes = nn.Linear(256 * 6 * 6, 4 * classes)
        for layer in self.modules():  # no BatchNorm: any narrower, and nothing of the picture is left at the end
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)

    def forward(self, x: Tensor, rois: Tensor) -> tuple[Tensor, Tensor]:
        share = CONTEXT_PX / (WARPED_PX - 2 * CONTEXT_PX)
        more = (rois[:, 3:] - rois[:, 1:3]) * share
        wide = torch.cat([rois[:, :1], rois[:, 1:3] - more, rois[:, 3:] + more], 1)
        warped = roi_align(x, wide, WARPED_PX, 1.0, 1, aligned=True)  # (R, 3, 227, 227)
        pooled = self.pool5(self.features(warped)).flatten(1)
        return self.svm(self.full(pooled)), self.boxes(pooled)


class FastRcnn(nn.Module):
    """x (N, 3, H, W), rois (R, 5) → logits (R, C + 1), the first for nothing; deltas (R, 4 · (C + 1))."""

    def __init__(self, classes: int = 20) -> None:
        super().__init__()
        body = torchvision.models.vgg16(weights=None)
        self.features = body.features[:-1]  # the region's pooling takes the place of the last
        self.full = nn.Sequential(*list(body.classifier.children())[:-1])
        self.scores = nn.Linear(4096, classes + 1)
        self.boxes = nn.Linear(4096, 4 * (classes + 1))

    def forward(self, x: Tensor, rois: Tensor) -> tuple[Tensor, Tensor]:
        pooled = roi_pool(self.features(x), rois, POOLED, 1 / STRIDE)  # (R, 512, 7, 7)
        full = self.full(pooled.flatten(1))
        return self.scores(full), self.boxes(full)
