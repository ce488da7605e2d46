"""Highway networks: gates that carry a layer's input past it."""

from __future__ import annotations

from export.catalogue.family import CIFAR_LABELS, Family

_HIGHWAY = Family("Highway network", "Training Very Deep Networks (arXiv:1507.06228)", 2015)

ROWS = (
    _HIGHWAY.own(
        "highway19_cifar10",
        "highway_cifar",
        (2.390, 2.3),
        labels=CIFAR_LABELS,
        paper_top1=92.4,
        note="the paper says about 2.3 and prints no widths; these are of the FitNet that it compares with",
    ),
)
