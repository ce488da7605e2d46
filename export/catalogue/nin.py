"""Network in Network: 1×1 convolutions, and averages in place of dense layers."""

from __future__ import annotations

from export.catalogue.family import CIFAR_LABELS, Family

_NIN = Family("Network in Network", "Network In Network (arXiv:1312.4400)", 2013)

ROWS = (
    _NIN.pytorchcv(
        "nin_cifar10",
        "nin_cifar10",
        (0.9670, 0.97),
        head="output.final_conv.conv",
        labels=CIFAR_LABELS,
        top1=92.57,
        paper_top1=91.19,
    ),
    _NIN.own("nin_imagenet", "nin_imagenet", (7.595, 7.6)),
)
