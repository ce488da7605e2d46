"""TSP-RCNN: DETR's encoder alone, over what region proposals cut out of a pyramid.

    P3 … P7 ─▶ two towers of 2 convolutions ─▶ 9 anchors a place ─▶ the 700 likeliest proposals
                                                                          │
    P2 … P5 ─▶ RoIAlign 7×7 ─▶ 1024 ─▶ 512 ─▶ + where it is ─▶ LayerNorm ─▶ 6 encoder layers ─▶ class, box

The towers share their convolutions among the levels, each with a BatchNorm of its own.

Sources: Sun et al. (arXiv:2011.10881), sections 4.1 and 4.3, figure 4; the authors' code for what they leave out,
Edward-Sun/TSP-Detection: rcnn/myfpn.py, myrpn.py, mybox_head.py, my_fast_rcnn_output.py and tsp_rcnn.sh. Two layers
before the encoder make the paper's 63.6 M parameters; the script has one, and 56.7 M. The pyramid, the choice of
proposals and RoIAlign are torchvision's.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock

from export.architectures.tsp import PYRAMID, WARMTH, WIDTH, EncoderLayer, pyramid

# Sides of the anchors in pixels, of P3 … P7, and their shapes.
ANCHORS_PX = (
    (32.0, 40.32, 51.80),
    (64.0, 80.63, 101.59),
    (128.0, 161.27, 203.19),
    (256.0, 322.54, 406.37),
    (512.0, 645.08, 812.75),
)
SHAPES = (0.5, 1.0, 2.0)
SIDE, FIRST = 7, 1024
BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)


class Coarser(ExtraFPNBlock):  # type: ignore[misc]
    """P6 and P7: 3×3 convolutions of stride 2 with BatchNorm, the second of what the first leaves above zero."""

    def __init__(self) -> None:
        super().__init__()
        self.p6, self.p7 = (
            nn.Sequential(nn.Conv2d(PYRAMID, PYRAMID, 3, 2, 1), nn.BatchNorm2d(PYRAMID)) for _ in range(2)
        )

    def forward(self, results: list[Tensor], x: list[Tensor], names: list[str]) -> tuple[list[Tensor], list[str]]:
        sixth = self.p6(results[-1])
        return [*results, sixth, self.p7(sixth.relu())], [*names, "p6", "p7"]


class Tower(nn.Module):
    """Of a level's map (N, 256, h, w), for each of so many outputs a place: (N, outputs, h, w)."""

    def __init__(self, levels: int, outputs: int, depth: int = 2) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(PYRAMID, PYRAMID, 3, padding=1) for _ in range(depth))
        self.norms = nn.ModuleList(nn.ModuleList(nn.BatchNorm2d(PYRAMID) for _ in range(depth)) for _ in range(levels))
        self.last = nn.Conv2d(PYRAMID, outputs, 1)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        found = []
        for x, norms in zip(maps, self.norms, strict=True):
            for convolution, norm in zip(self.convolutions, norms, strict=True):  # type: ignore[call-overload]
                x = norm(convolution(x)).relu()
            found.append(self.last(x))
        return found


class ProposalHead(nn.Module):
    """Objectness (N, 9, h, w) and deltas (N, 36, h, w) of every level, as torchvision's RPNHead gives them."""

    def __init__(self) -> None:
        super().__init__()
        anchors = len(ANCHORS_PX[0]) * len(SHAPES)
        self.objects, self.boxes = Tower(len(ANCHORS_PX), anchors), Tower(len(ANCHORS_PX), 4 * anchors)

    def forward(self, maps: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        return self.objects(maps), self.boxes(maps)


class Judged(nn.Module):
    """What is cut out for the proposals of a picture, seen beside each other → class logits and deltas."""

    def __init__(self, classes: int, layers: int) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.Linear(PYRAMID * SIDE**2, FIRST), nn.ReLU(), nn.Linear(FIRST, WIDTH))
        self.place, self.norm = nn.Linear(WIDTH, WIDTH), nn.LayerNorm(WIDTH)
        self.encoder = nn.ModuleList(EncoderLayer() for _ in range(layers))
        self.last_norm = nn.LayerNorm(WIDTH)
        self.logits = nn.Linear(WIDTH, classes + 1)
        self.box = nn.Sequential(
            nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 4 * classes)
        )

    def forward(self, pooled: Tensor, boxes: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """logits (N, R, classes + 1), the last for nothing; deltas (N, R, classes, 4).

        pooled  (N, R, 256, 7, 7)      boxes   (N, R, 4) xyxy, in 0..1 of the picture
        there   (N, R) bool: the others are no proposals, and nobody looks at them
        """
        positions = waves(boxes)
        x = self.norm(self.project(pooled.flatten(2)) + self.place(positions))
        unseen = torch.where(there, 0.0, -1e9).to(x.dtype)[:, None, None]
        for layer in self.encoder:
            x = layer(x, positions, unseen)
        x = self.last_norm(x)
        deltas = self.box(x)
        return self.logits(x), deltas.reshape(*deltas.shape[:2], -1, 4)


def waves(boxes: Tensor) -> Tensor:
    """(N, R, 512): of each box's centre, size and corners in turn 64 sines and cosines. boxes (N, R, 4) in 0..1."""
    first, last = boxes[..., :2], boxes[..., 2:]
    numbers = torch.cat([(first + last) / 2, last - first, boxes], -1) * 2 * math.pi  # (N, R, 8)
    half = torch.arange(WIDTH // 16, dtype=torch.float32)
    angles = numbers[..., None] / (WARMTH ** (2 * half / (WIDTH // 8))).to(boxes.dtype)
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(2)


class Regions(nn.Module):
    """What torchvision calls `roi_heads`: how regions are cut out, judged and thinned."""

    def __init__(self, classes: int, layers: int, things: int) -> None:
        super().__init__()
        self.box_roi_pool = MultiScaleRoIAlign(["0", "1", "2", "3"], SIDE, 2)
        self.judged = Judged(classes, layers)
        self.score_thresh, self.nms_thresh, self.detections_per_img = 0.0, 0.7, things


class TspRcnn(nn.Module):
    """Its parts; export.heads.tsp_rcnn joins them."""

    def __init__(
        self, classes: int = 80, layers: int = 6, backbone: str = "resnet50", proposals: int = 700, things: int = 100
    ) -> None:
        super().__init__()
        self.backbone = pyramid(backbone, [1, 2, 3, 4], Coarser())
        head: Any = ProposalHead()
        self.rpn = RegionProposalNetwork(
            AnchorGenerator(ANCHORS_PX, (SHAPES,) * len(ANCHORS_PX)),
            head,
            fg_iou_thresh=0.7,
            bg_iou_thresh=0.3,
            batch_size_per_image=256,
            positive_fraction=0.5,
            pre_nms_top_n={"training": 2000, "testing": 1000},
            post_nms_top_n={"training": proposals, "testing": proposals},
            nms_thresh=0.7,
        )
        self.roi_heads = Regions(classes, layers, things)
