"""ShuffleNetV2+: ShuffleNetV2 with a searched mix of blocks, squeeze-and-excitation and hard swish.

The authors' repository, megvii-model/ShuffleNet-Series, ShuffleNetV2+ (2019); there is no paper of its own.

    stride 1   every second map goes by; the others go through the branch; concat
    stride 2   both go through a branch that halves the height and width; concat

    branch     1×1 ─▶ depthwise k×k ─▶ 1×1 ─▶ excitation                              k = 3, 5 or 7
    "Xception" (depthwise 3×3 ─▶ 1×1) three times ─▶ excitation                       marked X
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

XCEPTION = 0
# Side of the depthwise window, block by block, in the four stages.
BLOCKS: tuple[tuple[int, ...], ...] = (
    (3, 3, XCEPTION, 5),
    (5, 5, 3, 3),
    (7, 3, 7, 5, 5, 3, 7, 3),
    (7, 5, XCEPTION, 7),
)
STEM = 16
LAST = 1280
WIDTHS = {"small": (36, 104, 208, 416), "medium": (48, 128, 256, 512), "large": (68, 168, 336, 672)}


def activation(hard_swish: bool) -> nn.Module:
    return nn.Hardswish() if hard_swish else nn.ReLU()


def pointwise(before: int, after: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 1, bias=False), nn.BatchNorm2d(after)]


def depthwise(maps: int, side: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(maps, maps, side, stride, side // 2, groups=maps, bias=False), nn.BatchNorm2d(maps)]


class Excitation(nn.Module):
    """(N, C, H, W) → the same, every map weighted by what all of them say of the whole picture."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(maps, maps // 4, 1, bias=False)
        self.norm = nn.BatchNorm2d(maps // 4)
        self.excite = nn.Conv2d(maps // 4, maps, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = x.mean((2, 3), keepdim=True)  # (N, C, 1, 1)
        y = self.excite(self.norm(self.squeeze(y)).relu())  # (N, C, 1, 1)
        return x * F.hardsigmoid(y)


class ShuffleBlock(nn.Module):
    """(N, before, H, W) → (N, after, H/stride, W/stride). At stride 1, `before` is `after`."""

    def __init__(self, before: int, after: int, side: int, stride: int, stage: int) -> None:
        super().__init__()
        self.stride = stride
        hard_swish, excite = stage >= 1, stage >= 2
        inside = before if stride == 2 else before // 2
        middle, new = after // 2, after - inside
        if side == XCEPTION:
            layers = _xception(inside, middle, new, stride, hard_swish)
            side = 3
        else:
            layers = [*pointwise(inside, middle), activation(hard_swish), *depthwise(middle, side, stride)]
            layers += [*pointwise(middle, new), activation(hard_swish)]
        self.main = nn.Sequential(*layers, *([Excitation(new)] if excite else []))
        self.beside = nn.Sequential()
        if stride == 2:
            beside = [*depthwise(inside, side, 2), *pointwise(inside, inside), activation(hard_swish)]
            self.beside = nn.Sequential(*beside)

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 2:
            return torch.cat([self.beside(x), self.main(x)], 1)
        n, c, h, w = x.shape
        pairs = x.reshape(n, c // 2, 2, h, w)  # (N, C/2, 2, H, W)
        return torch.cat([pairs[:, :, 0], self.main(pairs[:, :, 1])], 1)  # (N, C, H, W)


def _xception(inside: int, middle: int, new: int, stride: int, hard_swish: bool) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for before, after in ((inside, middle), (middle, middle), (middle, new)):
        layers += [*depthwise(before, 3, stride), *pointwise(before, after), activation(hard_swish)]
        stride = 1
    return layers


class ShuffleNetV2Plus(nn.Module):
    """(N, 3, 224, 224) → (N, classes) logits."""

    def __init__(self, size: str, classes: int = 1000) -> None:
        super().__init__()
        stem: list[nn.Module] = [nn.Conv2d(3, STEM, 3, 2, 1, bias=False), nn.BatchNorm2d(STEM), nn.Hardswish()]
        layers: list[nn.Module] = stem  # (N, 16, 112, 112)
        before = STEM
        for stage, (sides, maps) in enumerate(zip(BLOCKS, WIDTHS[size], strict=True)):
            for number, side in enumerate(sides):
                layers.append(ShuffleBlock(before, maps, side, 2 if number == 0 else 1, stage))
                before = maps
        self.features = nn.Sequential(*layers, *pointwise(before, LAST), nn.Hardswish())  # (N, 1280, 7, 7)
        self.excitation = Excitation(LAST)
        self.hidden = nn.Sequential(nn.Linear(LAST, LAST, bias=False), nn.Hardswish(), nn.Dropout(0.2))
        self.head = nn.Linear(LAST, classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x).mean((2, 3), keepdim=True)  # (N, 1280, 1, 1)
        x = self.hidden(self.excitation(x).flatten(1))  # (N, 1280)
        out: Tensor = self.head(x)  # (N, classes)
        return out
