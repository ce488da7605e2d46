"""DenseNet for CIFAR without compression, and DenseNet-264.

Huang, Liu, van der Maaten, Weinberger: Densely Connected Convolutional Networks (arXiv:1608.06993), section 3,
tables 1 and 2. The libraries' CIFAR networks halve the maps in every transition, which the paper calls C.

    plain        x ─▶ BN ─▶ ReLU ─▶ 3×3, k maps ─▶ concat with x
    bottleneck   x ─▶ BN ─▶ ReLU ─▶ 1×1, 4k maps ─▶ BN ─▶ ReLU ─▶ 3×3, k maps ─▶ concat with x
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.densenet import DenseNet


def convolution(before: int, maps: int, side: int) -> nn.Sequential:
    """BN, ReLU, convolution: the composite function of section 3."""
    layer = nn.Conv2d(before, maps, side, padding=side // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight)
    return nn.Sequential(nn.BatchNorm2d(before), nn.ReLU(), layer)


class DenseLayer(nn.Module):
    """(N, before, H, W) → (N, before + growth, H, W)."""

    def __init__(self, before: int, growth: int, bottleneck: bool) -> None:
        super().__init__()
        if bottleneck:
            self.new = nn.Sequential(convolution(before, 4 * growth, 1), convolution(4 * growth, growth, 3))
        else:
            self.new = convolution(before, growth, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.new(x)], 1)


class DenseNetCifar(nn.Module):
    """(N, 3, 32, 32) → (N, classes) logits. Three dense blocks; `depth` as in the paper's L."""

    def __init__(self, depth: int, growth: int, bottleneck: bool = False, classes: int = 10) -> None:
        super().__init__()
        layers_per_block = (depth - 4) // 3 // (2 if bottleneck else 1)
        maps = 2 * growth if bottleneck else 16
        stem = nn.Conv2d(3, maps, 3, padding=1, bias=False)
        parts: list[nn.Module] = [stem]  # (N, maps, 32, 32)
        for block in range(3):
            for _ in range(layers_per_block):
                parts.append(DenseLayer(maps, growth, bottleneck))
                maps += growth
            if block < 2:
                # Transition with theta = 1: as many maps as before, half the height and width.
                parts += [convolution(maps, maps, 1), nn.AvgPool2d(2)]
        self.features = nn.Sequential(*parts, nn.BatchNorm2d(maps), nn.ReLU())  # (N, maps, 8, 8)
        self.head = nn.Linear(maps, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x).mean((2, 3))  # (N, maps)
        out: Tensor = self.head(x)  # (N, classes)
        return out


def densenet264() -> nn.Module:
    """The last column of table 1: torchvision's class has it, its list of names has not."""
    network: nn.Module = DenseNet(32, (6, 12, 64, 48), 64)
    return network
