"""AlexNet as it ran on two graphics cards in 2012.

Krizhevsky, Sutskever, Hinton: ImageNet Classification with Deep Convolutional Neural Networks (2012), section 3.5.

Each card holds half of the maps. Layers 2, 4 and 5 look only at the half on their own card, which is a convolution in
two groups; layer 3 and the fully connected ones look at both.

            ┌ 48 ─▶ 128 ┐  ┌ 192 ─▶ 192 ─▶ 128 ┐
    picture ┤           ├──┤                   ├─▶ 4096 ─▶ 4096 ─▶ 1000
            └ 48 ─▶ 128 ┘  └ 192 ─▶ 192 ─▶ 128 ┘
"""

from __future__ import annotations

from torch import Tensor, nn


def brightness_normalisation() -> nn.LocalResponseNorm:
    """Section 3.3: n = 5, alpha = 1e-4, beta = 0.75, k = 2. torch divides alpha by n, so it is multiplied here."""
    return nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2.0)


def pool() -> nn.MaxPool2d:
    """Section 3.4: windows of 3 every 2 pixels overlap."""
    return nn.MaxPool2d(3, 2)


class AlexNet2012(nn.Module):
    """(N, 3, 224, 224) → (N, classes) logits."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        # 224 pixels with 2 of padding: 55 windows, as the paper counts them (it would be 227 without padding).
        self.features = nn.Sequential(
            nn.Conv2d(3, 96, 11, 4, 2),  # (N, 96, 55, 55)
            nn.ReLU(),
            brightness_normalisation(),
            pool(),  # (N, 96, 27, 27)
            nn.Conv2d(96, 256, 5, padding=2, groups=2),  # (N, 256, 27, 27)
            nn.ReLU(),
            brightness_normalisation(),
            pool(),  # (N, 256, 13, 13)
            nn.Conv2d(256, 384, 3, padding=1),  # (N, 384, 13, 13)
            nn.ReLU(),
            nn.Conv2d(384, 384, 3, padding=1, groups=2),  # (N, 384, 13, 13)
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1, groups=2),  # (N, 256, 13, 13)
            nn.ReLU(),
            pool(),  # (N, 256, 6, 6)
        )
        self.classifier = nn.Sequential(
            nn.Dropout(),
            nn.Linear(256 * 6 * 6, 4096),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Linear(4096, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x).flatten(1)  # (N, 9216)
        out: Tensor = self.classifier(x)  # (N, classes)
        return out
