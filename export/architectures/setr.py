"""SETR: a plain ViT as the encoder, three decoders.

naive   1×1 ─▶ BatchNorm ─▶ 1×1 ─▶ bilinear × 16
PUP     four times (3×3 ─▶ BatchNorm ─▶ ReLU ─▶ bilinear × 2), then 1×1
MLA     layers 6, 12, 18, 24, added up from the deepest; each 3 convolutions and × 4; side by side; 1×1; × 4

Source: arXiv:2012.15840, section 3.2, figure 1; widths of the authors' code (256 channels).
"""

from __future__ import annotations

from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH = 256


class Encoder(nn.Module):
    """x (N, 3, H, W) → the token maps (N, D, H/16, W/16) of the wanted blocks."""

    def __init__(self, vit: str, size_px: int, blocks: tuple[int, ...]) -> None:
        super().__init__()
        network: Any = timm.create_model(vit, pretrained=False, img_size=size_px, num_classes=0)
        self.vit, self.width, depth = network, int(network.embed_dim), len(network.blocks)
        self.wanted = [round(share * depth / 24) - 1 for share in blocks]

    def forward(self, x: Tensor) -> list[Tensor]:
        vit: Any = self.vit
        maps: list[Tensor] = vit.forward_intermediates(
            x, indices=self.wanted, norm=True, intermediates_only=True, output_fmt="NCHW"
        )
        return maps


def _block(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


def _larger(x: Tensor, times: int) -> Tensor:
    return F.interpolate(x, scale_factor=float(times), mode="bilinear", align_corners=False)


class SetrNaive(nn.Module):
    def __init__(self, classes: int = 150, vit: str = "vit_large_patch16_384", size_px: int = 512) -> None:
        super().__init__()
        self.encoder = Encoder(vit, size_px, (24,))
        self.reduce = _block(self.encoder.width, WIDTH, 1)
        self.head = nn.Conv2d(WIDTH, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H/16, W/16); the last × 16 is the contract's."""
        out: Tensor = self.head(self.reduce(self.encoder(x)[-1]))
        return out


class SetrPup(nn.Module):
    def __init__(self, classes: int = 150, vit: str = "vit_large_patch16_384", size_px: int = 512) -> None:
        super().__init__()
        self.encoder = Encoder(vit, size_px, (24,))
        self.steps = nn.ModuleList(_block(inputs, WIDTH, 3) for inputs in (self.encoder.width, *[WIDTH] * 3))
        self.head = nn.Conv2d(WIDTH, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H/2, W/2)."""
        y = self.encoder(x)[-1]
        for i, step in enumerate(self.steps):
            y = step(y)
            if i < len(self.steps) - 1:
                y = _larger(y, 2)
        # A 1×1 convolution and an enlargement may change places; in this order there is a quarter of the work.
        out: Tensor = self.head(y)
        return out


class SetrMla(nn.Module):
    def __init__(self, classes: int = 150, vit: str = "vit_large_patch16_384", size_px: int = 512) -> None:
        super().__init__()
        self.encoder = Encoder(vit, size_px, (6, 12, 18, 24))
        self.reduce = nn.ModuleList(_block(self.encoder.width, WIDTH, 1) for _ in range(4))
        self.smooth = nn.ModuleList(_block(WIDTH, WIDTH, 3) for _ in range(4))
        self.narrow = nn.ModuleList(
            nn.Sequential(_block(WIDTH, WIDTH // 2, 3), _block(WIDTH // 2, WIDTH // 2, 3)) for _ in range(4)
        )
        self.head = nn.Conv2d(4 * WIDTH // 2, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H/4, W/4)."""
        maps = [reduce(one) for reduce, one in zip(self.reduce, self.encoder(x), strict=True)]
        total = torch.zeros_like(maps[-1])
        parts: list[Tensor] = []
        for one, smooth, narrow in zip(reversed(maps), self.smooth, self.narrow, strict=True):
            total = total + one
            parts.append(_larger(narrow(smooth(total)), 4))
        out: Tensor = self.head(torch.cat(parts, 1))
        return out
