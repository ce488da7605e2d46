"""Highway network for CIFAR: every layer decides how much of its input it carries over unchanged.

Srivastava, Greff, Schmidhuber: Training Very Deep Networks (arXiv:1507.06228), section 2.

    y = H(x) · T(x) + x · (1 − T(x))        H: convolution and ReLU, T: convolution and sigmoid

The gates start closed (bias −2), so that a deep network begins as the identity (section 2.2). Of its best CIFAR network
the paper prints the depth and about how many parameters (table 2); the widths are those of the FitNet it is compared
with.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

CARRY_BIAS = -2.0


class HighwayLayer(nn.Module):
    """(N, maps, H, W) → the same shape."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.transform = nn.Conv2d(maps, maps, 3, padding=1)
        self.gate = nn.Conv2d(maps, maps, 3, padding=1)
        nn.init.constant_(self.gate.bias, CARRY_BIAS)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        share = torch.sigmoid(self.gate(x))  # (N, maps, H, W)
        out: Tensor = self.transform(x).relu() * share + x * (1 - share)
        return out


class HighwayCifar(nn.Module):
    """(N, 3, 32, 32) → (N, classes) logits. `depth` counts the layers with weights, head and stem included."""

    def __init__(self, depth: int = 19, widths: tuple[int, ...] = (48, 80, 128), classes: int = 10) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        before = 3
        layers = (depth - 1 - len(widths)) // len(widths)
        for maps in widths:
            stages += [nn.Conv2d(before, maps, 3, padding=1), nn.ReLU()]
            stages += [HighwayLayer(maps) for _ in range(layers)]
            stages.append(nn.MaxPool2d(2))
            before = maps
        self.features = nn.Sequential(*stages)
        self.head = nn.Linear(before, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x).mean((2, 3))  # (N, widths[-1])
        out: Tensor = self.head(x)  # (N, classes)
        return out
