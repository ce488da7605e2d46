"""Squeeze-and-excitation: maps weighted by what all of them say of the whole picture. In the authors' own layout."""

from __future__ import annotations

from export.catalogue.family import Family, crop
from export.catalogue.row import Row

_SENET = Family("SENet", "Squeeze-and-Excitation Networks (arXiv:1709.01507)", 2017)


def _se(name: str, constructor: str, millions: tuple[float, float], top1: float, paper_top1: float) -> Row:
    return _SENET.timm(
        name,
        constructor,
        "last_linear",
        crop(224, 256),
        millions,
        tag="in1k",
        top1=top1,
        paper_top1=paper_top1,
    )


ROWS = (
    _SENET.own(
        "se_bn_inception",
        "se_bn_inception",
        (11.942, 12.1),
        head="output",
        paper_top1=75.77,
        note="the paper says 12.1; pytorchcv's BN-Inception with the excitation added has 11.94",
    ),
    _se("se_resnet50", "legacy_seresnet50", (28.088, 28.1), 77.644, 76.71),
    _se("se_resnet101", "legacy_seresnet101", (49.327, 49.3), 78.386, 77.62),
    _se("se_resnet152", "legacy_seresnet152", (66.822, 66.8), 78.660, 78.43),
    _se("se_resnext50_32x4d", "legacy_seresnext50_32x4d", (27.560, 27.6), 79.076, 78.90),
    _se("se_resnext101_32x4d", "legacy_seresnext101_32x4d", (48.955, 49.0), 80.230, 79.30),
    _se("senet154", "legacy_senet154", (115.089, 115.1), 81.308, 81.32),
)
