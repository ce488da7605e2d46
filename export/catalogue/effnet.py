"""EffNet: separable in every direction."""

from __future__ import annotations

from export.catalogue.family import CIFAR_LABELS, Family

_EFFNET = Family("EffNet", "EffNet: An Efficient Structure for Convolutional Neural Networks (arXiv:1801.06434)", 2018)

ROWS = (_EFFNET.own("effnet_cifar10", "effnet_cifar", (0.1511, None), labels=CIFAR_LABELS, paper_top1=80.2),)
