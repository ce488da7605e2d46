"""SqueezeNet 1.0 with complex bypass: 1×1 convolutions carry the maps past the modules that change their number.

Iandola et al.: SqueezeNet (arXiv:1602.07360), figure 2 right, table 1, section 6.

    Fire     x ─▶ squeeze 1×1 ─▶ ┌ expand 1×1 ┐
                                 └ expand 3×3 ┘ concat

    bypass   plain around fire3, 5, 7, 9 (as many maps come out as went in); through a 1×1 around fire2, 4, 6, 8
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Fire(nn.Module):
    """(N, before, H, W) → (N, 2 · expand, H, W)."""

    def __init__(self, before: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(before, squeeze, 1)
        self.expand_1 = nn.Conv2d(squeeze, expand, 1)
        self.expand_3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze(x).relu()  # (N, squeeze, H, W)
        return torch.cat([self.expand_1(x), self.expand_3(x)], 1).relu()


class BypassedFire(nn.Module):
    """Fire plus what goes around it: the identity, or a 1×1 convolution where the number of maps changes."""

    def __init__(self, before: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.fire = Fire(before, squeeze, expand)
        self.around = nn.Identity() if before == 2 * expand else nn.Conv2d(before, 2 * expand, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fire(x) + self.around(x)
        return out


class SqueezeNetComplexBypass(nn.Module):
    """(N, 3, 224, 224) → (N, classes) logits."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 96, 7, 2),  # (N, 96, 109, 109)
            nn.ReLU(),
            nn.MaxPool2d(3, 2, ceil_mode=True),  # (N, 96, 54, 54)
            BypassedFire(96, 16, 64),  # fire2: 128
            BypassedFire(128, 16, 64),  # fire3: 128
            BypassedFire(128, 32, 128),  # fire4: 256
            nn.MaxPool2d(3, 2, ceil_mode=True),  # (N, 256, 27, 27)
            BypassedFire(256, 32, 128),  # fire5: 256
            BypassedFire(256, 48, 192),  # fire6: 384
            BypassedFire(384, 48, 192),  # fire7: 384
            BypassedFire(384, 64, 256),  # fire8: 512
            nn.MaxPool2d(3, 2, ceil_mode=True),  # (N, 512, 13, 13)
            BypassedFire(512, 64, 256),  # fire9: 512
            nn.Dropout(),
        )
        self.head = nn.Conv2d(512, classes, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_uniform_(layer.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)  # (N, 512, 13, 13)
        out: Tensor = self.head(x).relu().mean((2, 3))  # (N, classes)
        return out
