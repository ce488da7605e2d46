"""MobileDet with SSDLite: four backbones found for detection itself, each for another kind of processor.

Regular convolutions stand beside the depthwise ones wherever the processor likes them:

    inverted bottleneck   x ─▶ 1×1, × e ─▶ depthwise k×k ─▶ (SE) ─▶ 1×1 ─▶ + x
    fused                 x ─▶ k×k, × e ──────────────────────────▶ 1×1 ─▶ + x
    Tucker                x ─▶ 1×1, × s ─▶ k×k, to × r of the maps ─▶ 1×1 ─▶ + x

Two maps of the backbone, and four that are made from the last of them, each with a box and a score for every class of
every anchor:

    C4 ─▶ C5 ─▶ 512 ─▶ 256 ─▶ 256 ─▶ 128      strides 16, 32, 64, 128, 256, 512

Sources: Xiong, Liu et al. (arXiv:2004.14525), section 3 and figure 8; the authors' code for what figures leave out:
tensorflow/models, research/object_detection: models/ssd_mobiledet_feature_extractor.py (the layers),
models/feature_map_generators.py (the four further maps), anchor_generators/multiple_grid_anchor_generator.py,
samples/configs/ssdlite_mobiledet_*_320x320_coco_sync_4x4.config (heads, parameters, AP).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import timm.layers
import torch
from torch import Tensor, nn

_of: Any = timm.layers

# TensorFlow's own in the backbone; 0.001 in what stands on it.
BACKBONE_EPS, HEAD_EPS = 0.01, 0.001
# COCO's 90 ids and a first one for nothing, which training never uses.
CLASS_SLOTS = 91
MORE_MAPS = (512, 256, 256, 128)
SCALES = (*(0.2 + 0.15 * i for i in range(6)), 1.0)  # of an anchor's side, map by map
RATIOS = (1.0, 2.0, 0.5, 3.0, 0.3333)


@dataclass(frozen=True, slots=True)
class Ibn:
    """Inverted bottleneck; expansion 1 has no first 1×1."""

    maps: int
    expansion: int
    side: int = 3


@dataclass(frozen=True, slots=True)
class Fused:
    maps: int
    expansion: int
    side: int = 3


@dataclass(frozen=True, slots=True)
class Tucker:
    """rank_in of the maps before and rank_out of those after are what the k×k convolution sees and gives."""

    maps: int
    rank_in: float
    rank_out: float
    side: int = 3


Layer = Ibn | Fused | Tucker
# (stride of the first layer, layers). Only the first of a stage adds nothing to its input.
Stages = tuple[tuple[int, tuple[Layer, ...]], ...]


@dataclass(frozen=True, slots=True)
class Backbone:
    """stem: maps of the first 3×3. With `se`, all blocks have squeeze-and-excitation and hard swish for ReLU6."""

    stem: int
    stages: Stages
    se: bool = False


# The stages end at strides 2, 4, 8, 16, 16 (C4), 32 and 32 (C5).
CPU = Backbone(
    16,
    (
        (1, (Ibn(8, 1),)),
        (2, (Ibn(16, 4),)),
        (2, (Ibn(32, 8), *[Ibn(32, 4)] * 3)),
        (2, (Ibn(72, 8, 5), Ibn(72, 8), Ibn(72, 4, 5), Ibn(72, 4))),
        (1, (Ibn(72, 8), *[Ibn(72, 8)] * 3)),
        (2, (Ibn(104, 8, 5), *[Ibn(104, 4, 5)] * 2, Ibn(104, 4))),
        (1, (Ibn(144, 8),)),
    ),
    se=True,
)
DSP = Backbone(
    32,
    (
        (1, (Ibn(24, 1),)),
        (2, (Fused(32, 4), Fused(32, 4), Ibn(32, 4), Tucker(32, 0.25, 0.75))),
        (2, (Fused(64, 8), Ibn(64, 4), Fused(64, 4), Fused(64, 4))),
        (2, (Fused(120, 8), Ibn(120, 4), Ibn(120, 8), Ibn(120, 8))),
        (1, (Fused(144, 8), *[Ibn(144, 8)] * 3)),
        (2, (Ibn(160, 4), Ibn(160, 4), Fused(160, 4), Tucker(160, 0.75, 0.75))),
        (1, (Ibn(240, 8),)),
    ),
)
EDGE_TPU = Backbone(
    32,
    (
        (1, (Tucker(16, 0.25, 0.75),)),
        (2, (Fused(16, 8), Fused(16, 4), Fused(16, 8), Fused(16, 4))),
        (2, (Fused(40, 8, 5), *[Fused(40, 4)] * 3)),
        (2, (Ibn(72, 8), Ibn(72, 8), Fused(72, 4), Fused(72, 4))),
        (1, (Ibn(96, 8, 5), Ibn(96, 8, 5), Ibn(96, 8), Ibn(96, 8))),
        (2, (Ibn(120, 8, 5), Ibn(120, 8), Ibn(120, 4, 5), Ibn(120, 8))),
        (1, (Ibn(384, 8, 5),)),
    ),
)
GPU = Backbone(
    32,
    (
        (1, (Tucker(16, 0.25, 0.25),)),
        (2, (Fused(32, 8), *[Tucker(32, 0.25, 0.25)] * 3)),
        (2, (Fused(64, 8), Fused(64, 8), Fused(64, 8), Fused(64, 4))),
        (2, (Fused(128, 8), *[Fused(128, 4)] * 3)),
        (1, (Fused(128, 8), *[Fused(128, 8)] * 3)),
        (2, (Fused(128, 4), *[Fused(128, 4)] * 3)),
        (1, (Ibn(384, 8),)),
    ),
)
BACKBONES = {"cpu": CPU, "dsp": DSP, "edgetpu": EDGE_TPU, "gpu": GPU}
LAST_OF_C4, LAST_OF_C5 = 4, 6


def eights(maps: float) -> int:
    """The nearest multiple of eight, and eight at least."""
    return max(int(maps / 8 + 0.5) * 8, 8)


class MobileDetBlock(nn.Module):
    """(N, before, H, W) → (N, layer.maps, H/stride, W/stride)."""

    def __init__(self, before: int, layer: Layer, stride: int, se: bool, adds: bool) -> None:
        super().__init__()
        activation = nn.Hardswish if se else nn.ReLU6
        parts = list[nn.Module]()
        match layer:
            case Ibn(maps, expansion, side):
                inside = before * expansion
                parts += [_convolution(before, inside, 1, activation())] if expansion > 1 else []
                parts.append(_convolution(inside, inside, side, activation(), stride, depthwise=True))
                parts += [SqueezeExcite(inside, activation())] if se else []
            case Fused(maps, expansion, side):
                inside = before * expansion
                parts.append(_convolution(before, inside, side, activation(), stride))
            case Tucker(maps, rank_in, rank_out, side):
                narrow, inside = eights(before * rank_in), eights(maps * rank_out)
                parts.append(_convolution(before, narrow, 1, activation()))
                parts.append(_convolution(narrow, inside, side, activation(), stride))
        self.layers = nn.Sequential(*parts, _convolution(inside, maps, 1, nn.Identity()))
        self.adds = adds

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return x + out if self.adds else out


class SqueezeExcite(nn.Module):
    """x (N, C, H, W) times a weight in 0..1 for each of its maps."""

    def __init__(self, maps: int, activation: nn.Module) -> None:
        super().__init__()
        inside = eights(maps / 4)
        self.weigh = nn.Sequential(nn.Conv2d(maps, inside, 1), activation, nn.Conv2d(inside, maps, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        weights: Tensor = self.weigh(x.mean((2, 3), keepdim=True))  # (N, C, 1, 1)
        return x * weights


class MobileDet(nn.Module):
    """x (N, 3, H, W) → logits (N, P, 91) and deltas (N, P, 4) as (dx, dy, dw, dh), of P anchors: see `anchors`."""

    def __init__(self, backbone: str) -> None:
        super().__init__()
        plan = BACKBONES[backbone]
        activation = nn.Hardswish() if plan.se else nn.ReLU6()
        self.stem = _convolution(3, plan.stem, 3, activation, 2)
        self.stages = nn.ModuleList()
        before, widths = plan.stem, list[int]()
        for first_stride, layers in plan.stages:
            blocks = list[nn.Module]()
            for i, layer in enumerate(layers):
                blocks.append(MobileDetBlock(before, layer, first_stride if i == 0 else 1, plan.se, i > 0))
                before = layer.maps
            self.stages.append(nn.Sequential(*blocks))
            widths.append(before)
        seen = (widths[LAST_OF_C4], widths[LAST_OF_C5], *MORE_MAPS)
        self.more = nn.ModuleList(_smaller(before, after) for before, after in pairwise(seen[1:]))
        kinds = [len(shapes) for shapes in SHAPES]
        self.scores = nn.ModuleList(_predictor(maps, n * CLASS_SLOTS) for maps, n in zip(seen, kinds, strict=True))
        self.boxes = nn.ModuleList(_predictor(maps, n * 4) for maps, n in zip(seen, kinds, strict=True))

    def maps(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x)  # (N, stem, H/2, W/2)
        seen: list[Tensor] = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i in (LAST_OF_C4, LAST_OF_C5):
                seen.append(x)  # (N, C4, H/16, W/16), (N, C5, H/32, W/32)
        for smaller in self.more:
            seen.append(smaller(seen[-1]))
        return seen

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.maps(x)
        logits = [_by_anchor(layer(one), CLASS_SLOTS) for layer, one in zip(self.scores, maps, strict=True)]
        deltas = [_by_anchor(layer(one), 4) for layer, one in zip(self.boxes, maps, strict=True)]
        return torch.cat(logits, 1), torch.cat(deltas, 1)


def _shapes() -> tuple[tuple[tuple[float, float], ...], ...]:
    """(width, height) of each map's anchors, as shares of the picture: three on the finest, six on the others."""
    found = []
    for i, (scale, larger) in enumerate(pairwise(SCALES)):
        kinds = [(scale, ratio) for ratio in RATIOS] + [((scale * larger) ** 0.5, 1.0)]
        if i == 0:
            kinds = [(0.1, 1.0), (scale, 2.0), (scale, 0.5)]
        found.append(tuple((side * ratio**0.5, side / ratio**0.5) for side, ratio in kinds))
    return tuple(found)


SHAPES = _shapes()


def anchors(sizes_hw: list[tuple[int, int]]) -> Tensor:
    """(P, 4) xyxy in 0..1 of the picture, row by row on each map; sizes_hw of the maps. They may reach beyond it."""
    found: list[Tensor] = []
    for (height, width), shapes in zip(sizes_hw, SHAPES, strict=True):
        rows, columns = torch.meshgrid(
            (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width, indexing="ij"
        )
        centre = torch.stack([columns, rows], -1).reshape(-1, 1, 2)
        half = torch.tensor(shapes)[None] / 2  # (1, A, 2)
        found.append(torch.cat([centre - half, centre + half], -1).flatten(0, 1))
    return torch.cat(found)


def _by_anchor(raw: Tensor, values: int) -> Tensor:
    """(N, A · values, H, W) → (N, H · W · A, values)."""
    height, width = raw.shape[-2:]
    each = raw.reshape(-1, raw.shape[1] // values, values, height, width)
    return each.permute(0, 3, 4, 1, 2).flatten(1, 3)


def _convolution(
    before: int,
    after: int,
    side: int,
    activation: nn.Module,
    stride: int = 1,
    depthwise: bool = False,
    eps: float = BACKBONE_EPS,
) -> nn.Sequential:
    """Padded as TensorFlow pads: at stride 2 more at the right and below than at the left and above."""
    layer: nn.Module = _of.create_conv2d(before, after, side, stride=stride, padding="same", depthwise=depthwise)
    return nn.Sequential(layer, nn.BatchNorm2d(after, eps), activation)


def _smaller(before: int, after: int) -> nn.Sequential:
    """(N, before, H, W) → (N, after, H/2, W/2), through half as many maps."""
    inside = after // 2
    return nn.Sequential(
        _convolution(before, inside, 1, nn.ReLU6(), eps=HEAD_EPS),
        _convolution(inside, inside, 3, nn.ReLU6(), 2, depthwise=True, eps=HEAD_EPS),
        _convolution(inside, after, 1, nn.ReLU6(), eps=HEAD_EPS),
    )


def _predictor(maps: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        _convolution(maps, maps, 3, nn.ReLU6(), depthwise=True, eps=HEAD_EPS), nn.Conv2d(maps, outputs, 1)
    )
