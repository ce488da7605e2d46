"""Network in Network for ImageNet: a small perceptron slides over the picture in place of a linear filter.

Lin, Chen, Yan: Network In Network (arXiv:1312.4400), section 3; sizes as in the authors' Caffe model.

    mlpconv:  window ─▶ 1×1 ─▶ 1×1         (each followed by ReLU)

    11×11 96 ─▶ 5×5 256 ─▶ 3×3 384 ─▶ 3×3 1024 with 1000 maps at the end, whose averages are the answer: no dense layer
"""

from __future__ import annotations

from torch import Tensor, nn


def mlpconv(window: nn.Conv2d) -> list[nn.Module]:
    """A convolution and the two 1×1 convolutions, as wide, that make it a perceptron."""
    maps = window.out_channels
    return [window, nn.ReLU(), nn.Conv2d(maps, maps, 1), nn.ReLU(), nn.Conv2d(maps, maps, 1), nn.ReLU()]


class NinImageNet(nn.Module):
    """(N, 3, 224, 224) → (N, classes) logits."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *mlpconv(nn.Conv2d(3, 96, 11, 4)),  # (N, 96, 54, 54)
            nn.MaxPool2d(3, 2, ceil_mode=True),  # (N, 96, 27, 27)
            *mlpconv(nn.Conv2d(96, 256, 5, padding=2)),  # (N, 256, 27, 27)
            nn.MaxPool2d(3, 2, ceil_mode=True),  # (N, 256, 13, 13)
            *mlpconv(nn.Conv2d(256, 384, 3, padding=1)),  # (N, 384, 13, 13)
            nn.MaxPool2d(3, 2, ceil_mode=True),  # (N, 384, 6, 6)
            nn.Dropout(),
            nn.Conv2d(384, 1024, 3, padding=1),  # (N, 1024, 6, 6)
            nn.ReLU(),
            nn.Conv2d(1024, 1024, 1),  # (N, 1024, 6, 6)
            nn.ReLU(),
        )
        self.head = nn.Conv2d(1024, classes, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)  # (N, 1024, 6, 6)
        out: Tensor = self.head(x).relu().mean((2, 3))  # (N, classes)
        return out
