"""FBNet-A and FBNet-B: every layer's block chosen by gradient descent over a stochastic super net.

Wu et al.: FBNet (arXiv:1812.03443), figure 4 (the found blocks), table 1 (the space), figure 3 (the block). The blocks
are in numbers in the authors' repository, facebookresearch/mobile-vision, mobile_cv/model_zoo/models.

    x ─▶ 1×1, e times the maps ─▶ ReLU ─▶ depthwise k×k ─▶ ReLU ─▶ 1×1 ─▶ + x, if the shape is the same
         └ in 2 groups, then shuffled, where g = 2                   └ in 2 groups where g = 2
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

STEM = 16


@dataclass(frozen=True, slots=True)
class Block:
    """side k of the window, expansion e, groups g of the 1×1 convolutions."""

    side: int
    expansion: int
    groups: int = 1


K3E1, K3E3, K3E6 = Block(3, 1), Block(3, 3), Block(3, 6)
K5E1, K5E3, K5E6 = Block(5, 1), Block(5, 3), Block(5, 6)
K3E1G2, K5E1G2 = Block(3, 1, 2), Block(5, 1, 2)
# The space has "no block at all" in it. At stride 1 and equal shapes it leaves nothing.
SKIP = None

# Stages of table 1: (maps, stride of the first block, blocks).
Stages = tuple[tuple[int, int, tuple[Block | None, ...]], ...]
A: Stages = (
    (16, 1, (SKIP,)),
    (24, 2, (K3E3, K3E1, SKIP, SKIP)),
    (32, 2, (K5E6, K3E3, K5E1, K3E3)),
    (64, 2, (K5E6, K5E3, K5E1G2, K5E6)),
    (112, 1, (K3E6, K5E1G2, K5E3, K3E1G2)),
    (184, 2, (K5E6, K5E6, K5E3, K5E6)),
    (352, 1, (K5E6,)),
)
B: Stages = (
    (16, 1, (K3E1,)),
    (24, 2, (K3E6, K5E1, K3E1, K3E1)),
    (32, 2, (K5E6, K5E3, K3E6, K5E6)),
    (64, 2, (K5E6, K5E6, SKIP, K5E3)),
    (112, 1, (K5E6, K3E1, K5E1, K5E3)),
    (184, 2, (K5E6, K5E1, K5E6, K5E6)),
    (352, 1, (K3E6,)),
)


def convolution(before: int, after: int, side: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
    layer = nn.Conv2d(before, after, side, stride, side // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(after))


class FbnetBlock(nn.Module):
    """(N, before, H, W) → (N, after, H/stride, W/stride)."""

    def __init__(self, before: int, after: int, stride: int, block: Block) -> None:
        super().__init__()
        inside = before * block.expansion
        shuffle = nn.ChannelShuffle(block.groups) if block.groups > 1 else nn.Identity()
        self.layers = nn.Sequential(
            convolution(before, inside, groups=block.groups),
            nn.ReLU(),
            shuffle,
            convolution(inside, inside, block.side, stride, inside),
            nn.ReLU(),
            convolution(inside, after, groups=block.groups),
        )
        self.adds = before == after and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return x + out if self.adds else out


class Fbnet(nn.Module):
    """(N, 3, 224, 224) → (N, classes) logits. `last`: maps of the final 1×1 convolution."""

    def __init__(self, stages: Stages, last: int, classes: int = 1000) -> None:
        super().__init__()
        layers: list[nn.Module] = [convolution(3, STEM, 3, 2), nn.ReLU()]  # (N, 16, 112, 112)
        before = STEM
        for maps, first_stride, blocks in stages:
            for number, block in enumerate(blocks):
                stride = first_stride if number == 0 else 1
                if block is not None:
                    layers.append(FbnetBlock(before, maps, stride, block))
                    before = maps
        self.features = nn.Sequential(*layers, convolution(before, last), nn.ReLU())  # (N, last, 7, 7)
        self.head = nn.Linear(last, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x).mean((2, 3))  # (N, last)
        out: Tensor = self.head(x)  # (N, classes)
        return out


def fbnet_a() -> Fbnet:
    return Fbnet(A, 1504)


def fbnet_b() -> Fbnet:
    return Fbnet(B, 1984)
