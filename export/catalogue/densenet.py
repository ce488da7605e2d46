"""DenseNet: every layer sees the maps of all before it."""

from __future__ import annotations

from export.catalogue.family import CIFAR_LABELS, Arguments, Family, crop
from export.catalogue.row import Row

_DENSENET = Family("DenseNet", "Densely Connected Convolutional Networks (arXiv:1608.06993)", 2016)


def _cifar(name: str, millions: tuple[float, float | None], top1: float, paper_top1: float | None = None) -> Row:
    return _DENSENET.pytorchcv(name, name, millions, labels=CIFAR_LABELS, top1=top1, paper_top1=paper_top1)


def _plain(
    name: str,
    millions: tuple[float, float | None],
    depth: int,
    growth: int,
    bottleneck: bool = False,
    paper_top1: float | None = None,
) -> Row:
    arguments: Arguments = (("depth", depth), ("growth", growth), ("bottleneck", bottleneck))
    return _DENSENET.own(
        name, "densenet_cifar", millions, labels=CIFAR_LABELS, arguments=arguments, paper_top1=paper_top1
    )


ROWS = (
    _DENSENET.torchvision("densenet121", "classifier", crop(224, 256), (7.979, None), 74.434, paper_top1=74.98),
    _DENSENET.torchvision("densenet169", "classifier", crop(224, 256), (14.149, None), 75.600, paper_top1=76.20),
    _DENSENET.torchvision("densenet201", "classifier", crop(224, 256), (20.014, None), 76.896, paper_top1=77.42),
    _DENSENET.own("densenet264", "densenet264", (33.338, None), head="classifier", paper_top1=77.85),
    _plain("densenet40_k12_plain_cifar10", (1.020, 1.0), 40, 12, paper_top1=94.76),
    _plain("densenet100_k12_plain_cifar10", (6.980, 7.0), 100, 12, paper_top1=95.90),
    _plain("densenet100_k24_plain_cifar10", (27.249, 27.2), 100, 24, paper_top1=96.26),
    _plain("densenet100_k12_b_cifar10", (1.210, None), 100, 12, bottleneck=True),
    _cifar("densenet100_k12_cifar10", (4.068, None), 96.34),
    _cifar("densenet100_k12_bc_cifar10", (0.7692, 0.8), 95.84, 95.49),
    _cifar("densenet250_k24_bc_cifar10", (15.324, 15.3), 97.33, 96.38),
    _cifar("densenet190_k40_bc_cifar10", (25.624, 25.6), 97.48, 96.54),
)
