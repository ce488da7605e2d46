"""TSP-FCOS: DETR's encoder alone, over the places of a pyramid that look most like things.

    P3 … P7 ─▶ two towers of 4 convolutions, as FCOS has them ─▶ class logits of every place
                        └─▶ side by side, of the 700 likeliest places ─▶ 512 ─▶ 6 encoder layers ─▶ class, box

One layer of the encoder, normalised before instead of after:

    x ─▶ LayerNorm ─▶ attention (positions are added to what is compared) ─▶ + x ─▶ LayerNorm ─▶ 2048 ─▶ 512 ─▶ + x

Sources: Sun et al. (arXiv:2011.10881), sections 4.1 and 4.2, figure 4; the authors' code for what they leave out,
Edward-Sun/TSP-Detection: fcos/my_fcos.py, rcnn/transformer.py, rcnn/config.py and tsp_fcos.sh. The pyramid and the
towers are torchvision's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.fcos import FCOSClassificationHead, FCOSRegressionHead
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

PYRAMID, WIDTH, HEADS, HIDDEN = 256, 512, 8, 2048
STRIDES = (8, 16, 32, 64, 128)
WARMTH = 10000.0


@dataclass(frozen=True, slots=True)
class Places:
    """Of every place of the pyramid, level by level and row by row: (P, …)."""

    centres_px: Tensor  # (P, 2) x, y
    levels: Tensor  # (P,)
    positions: Tensor  # (P, 512)


def places(sizes_hw: list[tuple[int, int]]) -> Places:
    """The places of maps of those sizes, at STRIDES."""
    centres, levels, positions = [], [], []
    for level, ((height, width), stride) in enumerate(zip(sizes_hw, STRIDES, strict=True)):
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        grid = torch.stack([columns, rows], -1).reshape(-1, 2)
        centres.append(grid * float(stride) + stride // 2)
        levels.append(torch.full((height * width,), level))
        share = (grid + 1) / torch.tensor([width, height]) * 2 * math.pi
        positions.append(torch.cat([_waves(share[:, 1]), _waves(share[:, 0])], 1))
    return Places(torch.cat(centres), torch.cat(levels), torch.cat(positions))


def _waves(at: Tensor) -> Tensor:
    """(P,) → (P, 256): sines and cosines of ever longer waves. Source: DETR (arXiv:2005.12872), appendix A.4."""
    half = torch.arange(WIDTH // 4, dtype=torch.float32)
    angles = at[:, None] / WARMTH ** (4 * half / WIDTH)
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)


class EncoderLayer(nn.Module):
    """x, positions (N, K, 512) → (N, K, 512). unseen (N, 1, 1, K): what is added where nobody is to look, else 0."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.wide, self.narrow = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH)

    def forward(self, x: Tensor, positions: Tensor, unseen: Tensor | None = None) -> Tensor:
        y = self.norm_1(x)
        q, k, v = _by_head(self.q_proj(y + positions)), _by_head(self.k_proj(y + positions)), _by_head(self.v_proj(y))
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=unseen)  # (N, 8, K, 64)
        x = x + self.out_proj(seen.transpose(1, 2).flatten(2))
        more: Tensor = self.narrow(self.wide(self.norm_2(x)).relu())
        return x + more


def _by_head(x: Tensor) -> Tensor:
    """(N, K, 512) → (N, 8, K, 64)."""
    return x.reshape(-1, x.shape[1], HEADS, WIDTH // HEADS).transpose(1, 2)


def pyramid(backbone: str, stages: list[int], coarser: Any) -> nn.Module:
    """torchvision's pyramid over those stages of a ResNet, and what `coarser` puts on top."""
    made: nn.Module = resnet_fpn_backbone(
        backbone_name=backbone,
        weights=None,
        norm_layer=nn.BatchNorm2d,
        trainable_layers=5,
        returned_layers=stages,
        extra_blocks=coarser,
    )
    return made


class TspFcos(nn.Module):
    """`local` and then `found`; which places go from one to the other is the head's choice."""

    def __init__(self, classes: int = 80, layers: int = 6, backbone: str = "resnet50") -> None:
        super().__init__()
        self.backbone = pyramid(backbone, [2, 3, 4], LastLevelP6P7(PYRAMID, PYRAMID))
        scoring: Any = FCOSClassificationHead(PYRAMID, 1, classes)
        self.class_tower, self.local_logits = scoring.conv, scoring.cls_logits
        self.box_tower = FCOSRegressionHead(PYRAMID, 1).conv
        self.project, self.norm = nn.Linear(2 * PYRAMID, WIDTH), nn.LayerNorm(WIDTH)
        self.level_positions = nn.Parameter(torch.ones(len(STRIDES), WIDTH))
        self.encoder = nn.ModuleList(EncoderLayer() for _ in range(layers))
        self.last_norm = nn.LayerNorm(WIDTH)
        self.logits, self.box, self.centreness = nn.Linear(WIDTH, classes), nn.Linear(WIDTH, 4), nn.Linear(WIDTH, 1)
        self.scales = nn.Parameter(torch.ones(len(STRIDES)))

    def local(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (N, 3, H, W) → of every place: class logits (N, P, classes), features (N, P, 512)."""
        logits, features = [], []
        for one in self.backbone(x).values():  # (N, 256, h, w)
            seen = self.class_tower(one)
            logits.append(self.local_logits(seen).flatten(2).transpose(1, 2))
            features.append(torch.cat([seen, self.box_tower(one)], 1).flatten(2).transpose(1, 2))
        return torch.cat(logits, 1), torch.cat(features, 1)

    def found(self, features: Tensor, positions: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
        """Of K places: features, positions (N, K, 512), levels (N, K) → class logits (N, K, classes), and how far the
        box reaches to the left, up, right and down (N, K, 4), in strides of the level.

        Centreness is trained beside them, and the authors do not use it to predict.
        """
        x = self.norm(self.project(features))
        positions = positions + self.level_positions[levels]
        for layer in self.encoder:
            x = layer(x, positions)
        x = self.last_norm(x)
        return self.logits(x), self.box(x).relu() * self.scales[levels][..., None]
