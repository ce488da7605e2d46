"""Darknet-19 and Darknet-53, the bodies of YOLO v2 and v3.

Sources: YOLO9000 (arXiv:1612.08242), table 6; YOLOv3 (arXiv:1804.02767), table 1.
"""

from __future__ import annotations

from torch import Tensor, nn

SLOPE = 0.1


class Block(nn.Sequential):
    """conv ─▶ BatchNorm ─▶ leaky ReLU"""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.LeakyReLU(SLOPE),
        )


def squeezed(inputs: int, wide: int, narrow: int, count: int) -> nn.Sequential:
    """3×3 wide, 1×1 narrow, 3×3 wide, …: `count` blocks in all."""
    blocks: list[nn.Module] = [Block(inputs, wide, 3)]
    for i in range(1, count):
        blocks.append(Block(wide, narrow, 1) if i % 2 else Block(narrow, wide, 3))
    return nn.Sequential(*blocks)


class Darknet19(nn.Module):
    """x (N, 3, H, W) → maps at strides 16 and 32: (N, 512, H/16, W/16), (N, 1024, H/32, W/32)."""

    def __init__(self) -> None:
        super().__init__()
        self.to_16 = nn.Sequential(
            Block(3, 32, 3),
            nn.MaxPool2d(2),
            Block(32, 64, 3),
            nn.MaxPool2d(2),
            squeezed(64, 128, 64, 3),
            nn.MaxPool2d(2),
            squeezed(128, 256, 128, 3),
            nn.MaxPool2d(2),
            squeezed(256, 512, 256, 5),
        )
        self.to_32 = nn.Sequential(nn.MaxPool2d(2), squeezed(512, 1024, 512, 5))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        fine = self.to_16(x)
        return fine, self.to_32(fine)


class Residual(nn.Module):
    """x ─▶ 1×1, half the channels ─▶ 3×3 ─▶ + x"""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(Block(channels, channels // 2, 1), Block(channels // 2, channels, 3))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.body(x)
        return out


class Darknet53(nn.Module):
    """x (N, 3, H, W) → maps at strides 8, 16 and 32 with 256, 512 and 1024 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Block(3, 32, 3)
        self.stages = nn.ModuleList(
            nn.Sequential(Block(channels, 2 * channels, 3, 2), *(Residual(2 * channels) for _ in range(depth)))
            for channels, depth in zip((32, 64, 128, 256, 512), (1, 2, 8, 8, 4), strict=True)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        maps = [self.stem(x)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps[3], maps[4], maps[5]
