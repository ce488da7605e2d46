"""The two columns of VGG's table 1 that no library has: A-LRN and C.

Simonyan, Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition (2014), table 1.

    A-LRN   64 LRN │ 128 │ 256 256     │ 512 512     │ 512 512     │ 4096 4096 1000     3×3 throughout
    C       64 64  │ 128 128 │ 256 256 256¹ │ 512 512 512¹ │ 512 512 512¹ │ 4096 4096 1000     ¹ is 1×1
                   └ a max pool of 2×2 at every bar
"""

from __future__ import annotations

from torch import Tensor, nn

# (maps, side of the window) of every convolution, stage by stage.
Stage = tuple[tuple[int, int], ...]
A: tuple[Stage, ...] = (((64, 3),), ((128, 3),), ((256, 3),) * 2, ((512, 3),) * 2, ((512, 3),) * 2)
C: tuple[Stage, ...] = (
    ((64, 3),) * 2,
    ((128, 3),) * 2,
    ((256, 3), (256, 3), (256, 1)),
    ((512, 3), (512, 3), (512, 1)),
    ((512, 3), (512, 3), (512, 1)),
)


class Vgg(nn.Module):
    """(N, 3, 224, 224) → (N, classes) logits."""

    def __init__(self, stages: tuple[Stage, ...], lrn: bool, classes: int = 1000) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for number, stage in enumerate(stages):
            for maps, side in stage:
                layers += [nn.Conv2d(before, maps, side, padding=side // 2), nn.ReLU()]
                before = maps
            if number == 0 and lrn:
                # "Such normalisation does not improve the performance" (section 2.1): constants as in AlexNet.
                layers.append(nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2.0))
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(4096, classes),
        )
        for layer in self.features:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x).flatten(1)  # (N, 25088)
        out: Tensor = self.classifier(x)  # (N, classes)
        return out


def vgg11_lrn() -> Vgg:
    """Column A-LRN."""
    return Vgg(A, lrn=True)


def vgg16_c() -> Vgg:
    """Column C: sixteen layers, three of them 1×1."""
    return Vgg(C, lrn=False)
