"""MobileNet v3: searched blocks, hard swish; `minimal` has neither excitation, hard swish nor 5×5."""

from __future__ import annotations

from export.catalogue.family import Family, crop, halved
from export.catalogue.row import Row

_V3 = Family("MobileNet v3", "Searching for MobileNetV3 (arXiv:1905.02244)", 2019)


def _timm(name: str, constructor: str, millions: tuple[float, float], top1: float, paper_top1: float) -> Row:
    pixels = halved(224, 256, "bilinear")
    return _V3.timm(name, constructor, "classifier", pixels, millions, tag="in1k", top1=top1, paper_top1=paper_top1)


ROWS = (
    _V3.torchvision(
        "mobilenet_v3_large",
        "classifier.3",
        crop(224, 232),
        (5.483, 5.4),
        75.274,
        tag="IMAGENET1K_V2",
        paper_top1=75.2,
        note="the paper prints 5.4; 5.48 counted",
    ),
    _timm("mobilenet_v3_large_075", "tf_mobilenetv3_large_075", (3.994, 4.0), 73.432, 73.3),
    _timm("mobilenet_v3_large_minimal", "tf_mobilenetv3_large_minimal_100", (3.924, 3.9), 72.258, 72.3),
    _V3.torchvision("mobilenet_v3_small", "classifier.3", crop(224, 256), (2.543, 2.5), 67.668, paper_top1=67.4),
    _timm("mobilenet_v3_small_075", "tf_mobilenetv3_small_075", (2.042, 2.0), 65.728, 65.4),
    _timm("mobilenet_v3_small_minimal", "tf_mobilenetv3_small_minimal_100", (2.045, 2.0), 62.890, 61.9),
)
