"""LeNet: convolution, pooling, and the same again."""

from __future__ import annotations

from export.catalogue.family import MNIST_LABELS, Family, Pixels
from service.manifest import ResizeRule

_LENET = Family("LeNet", "Gradient-Based Learning Applied to Document Recognition (LeCun et al., 1998)", 1998)
_DIGITS = Pixels(
    ResizeRule("crop", (32, 32), "bilinear", 32),
    (0.1307,) * 3,
    (0.3081,) * 3,
    "MNIST as usual; RGB is averaged to grey",
)

ROWS = (_LENET.own("lenet5", "lenet5", (0.0617, 0.06), pixels=_DIGITS, labels=MNIST_LABELS, paper_top1=99.05),)
