"""Panoptic FPN: Mask R-CNN, and a second branch on the same pyramid that gives every pixel a class.

    P5, stride 32 ─▶ 3 × (3×3 ─▶ GroupNorm ─▶ ReLU ─▶ bilinear × 2) ─┐
    P4, stride 16 ─▶ 2 × (the same) ─────────────────────────────────┤
    P3, stride 8  ─▶ 1 × (the same) ─────────────────────────────────┤
    P2, stride 4  ─▶     (the same, without × 2) ────────────────────┴─▶ + ─▶ 1×1 ─▶ logits at stride 4

Its classes are the 53 kinds of stuff, and before them one for all things together.

Source: Kirillov et al. (arXiv:1901.02446), section 3.1, figure 3; Mask R-CNN is torchvision's.
"""

from __future__ import annotations

import torchvision
from torch import Tensor, nn

from export.heads.coco import STUFF

PYRAMID, WIDTH, GROUPS = 256, 128, 32
# Doublings from each map of the pyramid to stride 4, by torchvision's name for the map.
DOUBLINGS = {"0": 0, "1": 1, "2": 2, "3": 3}
LOGITS = 1 + STUFF


def _step(before: int, larger: bool) -> list[nn.Module]:
    layers = [nn.Conv2d(before, WIDTH, 3, padding=1, bias=False), nn.GroupNorm(GROUPS, WIDTH), nn.ReLU()]
    return [*layers, nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)] if larger else layers


class SemanticBranch(nn.Module):
    """The pyramid's maps (N, 256, H/4, W/4) … (N, 256, H/32, W/32), by name → logits (N, 1 + 53, H/4, W/4)."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.ModuleDict()
        for name, doublings in DOUBLINGS.items():
            steps = [_step(PYRAMID if i == 0 else WIDTH, doublings > 0) for i in range(max(1, doublings))]
            self.levels[name] = nn.Sequential(*(layer for step in steps for layer in step))
        self.head = nn.Conv2d(WIDTH, LOGITS, 1)

    def forward(self, maps: dict[str, Tensor]) -> Tensor:
        first, *others = (level(maps[name]) for name, level in self.levels.items())  # each (N, 128, H/4, W/4)
        for one in others:
            first = first + one
        out: Tensor = self.head(first)
        return out


class PanopticFpn(nn.Module):
    """Its two parts, which share `detector.backbone`: export.heads.panoptic_fpn runs them and joins what they say."""

    def __init__(self, proposals: int = 1000, things: int = 100) -> None:
        super().__init__()
        self.detector = torchvision.models.get_model(
            "maskrcnn_resnet50_fpn",
            weights=None,
            weights_backbone=None,
            rpn_post_nms_top_n_test=proposals,
            box_detections_per_img=things,
        )
        self.semantic = SemanticBranch()
