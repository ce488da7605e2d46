"""EffNet: depthwise convolution and pooling taken apart into their two directions.

Freeman, Roese-Koerner, Kummert: EffNet (arXiv:1801.06434), section 4, figure 1(c), table 2.

    block   1×1 ─▶ depthwise 1×3 ─▶ max pool 2×1 ─▶ depthwise 3×1 ─▶ 2×1 convolution, stride 2 along the other side
            (leaky ReLU and BatchNorm after every convolution)
"""

from __future__ import annotations

from torch import Tensor, nn


def activated(convolution: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(convolution, nn.BatchNorm2d(convolution.out_channels), nn.LeakyReLU())


class EffNetBlock(nn.Module):
    """(N, before, H, W) → (N, after, H/2, W/2)."""

    def __init__(self, before: int, maps: int, after: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            activated(nn.Conv2d(before, maps, 1, bias=False)),
            activated(nn.Conv2d(maps, maps, (1, 3), padding=(0, 1), groups=maps, bias=False)),
            nn.MaxPool2d((2, 1), (2, 1)),  # (N, maps, H/2, W)
            activated(nn.Conv2d(maps, maps, (3, 1), padding=(1, 0), groups=maps, bias=False)),
            activated(nn.Conv2d(maps, after, (1, 2), (1, 2), bias=False)),  # (N, after, H/2, W/2)
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out


class EffNetCifar(nn.Module):
    """(N, 3, 32, 32) → (N, classes) logits."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.features = nn.Sequential(
            EffNetBlock(3, 32, 64),  # (N, 64, 16, 16)
            EffNetBlock(64, 64, 128),  # (N, 128, 8, 8)
            EffNetBlock(128, 128, 256),  # (N, 256, 4, 4)
        )
        self.head = nn.Linear(256 * 4 * 4, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x).flatten(1)  # (N, 4096)
        out: Tensor = self.head(x)  # (N, classes)
        return out
