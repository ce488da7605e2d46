"""GoogLeNet as published: real 5×5 windows, local response normalisation, no BatchNorm.

Szegedy et al.: Going Deeper with Convolutions (arXiv:1409.4842), figure 2(b), table 1.

                   ┌ 1×1 ────────┐
    previous layer ┤ 1×1 ─▶ 3×3  ├ concatenation
                   ┤ 1×1 ─▶ 5×5  ┤
                   └ pool ─▶ 1×1 ┘

The two auxiliary classifiers of section 5 are there for training alone, and are not here.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

# Table 1: maps of #1×1, #3×3 reduce, #3×3, #5×5 reduce, #5×5, pool projection.
Widths = tuple[int, int, int, int, int, int]


def convolution(before: int, maps: int, side: int, stride: int = 1) -> nn.Sequential:
    """Convolution that keeps the size (at stride 1), and ReLU."""
    layer = nn.Conv2d(before, maps, side, stride, side // 2)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return nn.Sequential(layer, nn.ReLU())


class Inception(nn.Module):
    """Four views of the same maps side by side: (N, before, H, W) → (N, sum of the four, H, W)."""

    def __init__(self, before: int, widths: Widths) -> None:
        super().__init__()
        one, three_reduce, three, five_reduce, five, projection = widths
        self.one = convolution(before, one, 1)
        self.three = nn.Sequential(convolution(before, three_reduce, 1), convolution(three_reduce, three, 3))
        self.five = nn.Sequential(convolution(before, five_reduce, 1), convolution(five_reduce, five, 5))
        self.pool = nn.Sequential(nn.MaxPool2d(3, 1, 1), convolution(before, projection, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pool(x)], 1)


def pool() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, 2, ceil_mode=True)


class GoogLeNet2014(nn.Module):
    """(N, 3, 224, 224) → (N, classes) logits."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.features = nn.Sequential(
            convolution(3, 64, 7, 2),  # (N, 64, 112, 112)
            pool(),  # (N, 64, 56, 56)
            nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0),
            convolution(64, 64, 1),
            convolution(64, 192, 3),  # (N, 192, 56, 56)
            nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0),
            pool(),  # (N, 192, 28, 28)
            Inception(192, (64, 96, 128, 16, 32, 32)),  # 3a: 256
            Inception(256, (128, 128, 192, 32, 96, 64)),  # 3b: 480
            pool(),  # (N, 480, 14, 14)
            Inception(480, (192, 96, 208, 16, 48, 64)),  # 4a: 512
            Inception(512, (160, 112, 224, 24, 64, 64)),  # 4b: 512
            Inception(512, (128, 128, 256, 24, 64, 64)),  # 4c: 512
            Inception(512, (112, 144, 288, 32, 64, 64)),  # 4d: 528
            Inception(528, (256, 160, 320, 32, 128, 128)),  # 4e: 832
            pool(),  # (N, 832, 7, 7)
            Inception(832, (256, 160, 320, 32, 128, 128)),  # 5a: 832
            Inception(832, (384, 192, 384, 48, 128, 128)),  # 5b: 1024
        )
        self.dropout = nn.Dropout(0.4)
        self.head = nn.Linear(1024, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x).mean((2, 3))  # (N, 1024)
        out: Tensor = self.head(self.dropout(x))  # (N, classes)
        return out
