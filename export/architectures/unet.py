"""U-Net as in 2015: convolutions without padding, so that the map is smaller than the picture.

    1 ─▶ 64 ═════════════════════════════════▶ 128 ─▶ 64 ─▶ classes
          └▶ 128 ═════════════════════▶ 256 ─▶ 128 ┘
              └▶ 256 ═══════════▶ 512 ─▶ 256 ┘          ═▶ cut to the middle, and laid beside what comes from below
                  └▶ 512 ══▶ 1024 ─▶ 512 ┘
                      └▶ 1024 ┘

Source: arXiv:1505.04597, figure 1: 572×572 in, 388×388 out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

WIDTHS = (64, 128, 256, 512, 1024)


def _pair(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3), nn.ReLU(inplace=True), nn.Conv2d(outputs, outputs, 3), nn.ReLU(inplace=True)
    )


class UNet2015(nn.Module):
    """x (N, 1, H, W) → (N, classes, H - 184, W - 184); both sides must be 16 k + 12."""

    def __init__(self, classes: int = 2, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.down = nn.ModuleList(_pair(i, o) for i, o in zip((1, *widths), widths, strict=False))
        ladder = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose2d(i, o, 2, 2) for i, o in ladder)
        self.merge = nn.ModuleList(_pair(i, o) for i, o in ladder)
        self.head = nn.Conv2d(widths[0], classes, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)  # section 3: a deviation of √(2 / N)

    def forward(self, x: Tensor) -> Tensor:
        maps: list[Tensor] = []
        for i, pair in enumerate(self.down):
            x = pair(x if i == 0 else nn.functional.max_pool2d(x, 2))
            maps.append(x)
        for up, merge, beside in zip(self.up, self.merge, maps[-2::-1], strict=True):
            x = up(x)
            x = merge(torch.cat([_middle(beside, x), x], 1))
        out: Tensor = self.head(x)
        return out


def _middle(x: Tensor, like: Tensor) -> Tensor:
    top, left = ((a - b) // 2 for a, b in zip(x.shape[-2:], like.shape[-2:], strict=True))
    return x[..., top : top + like.shape[-2], left : left + like.shape[-1]]
