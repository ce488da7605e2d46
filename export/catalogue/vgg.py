"""VGG: nothing but 3×3, and more of them."""

from __future__ import annotations

from export.catalogue.family import Family, crop
from export.catalogue.row import Row

_VGG = Family("VGG", "Very Deep Convolutional Networks for Large-Scale Image Recognition (arXiv:1409.1556)", 2014)


def _tv(name: str, millions: tuple[float, float], top1_percent: float, paper_top1: float | None = None) -> Row:
    return _VGG.torchvision(name, "classifier.6", crop(224, 256), millions, top1_percent, paper_top1=paper_top1)


ROWS = (
    _tv("vgg11", (132.863, 133), 69.020, 70.4),
    _VGG.own("vgg11_lrn", "vgg11_lrn", (132.863, 133), head="classifier.6", paper_top1=70.3),
    _tv("vgg11_bn", (132.869, 133), 70.370),
    _tv("vgg13", (133.048, 133), 69.928, 71.3),
    _tv("vgg13_bn", (133.054, 133), 71.586),
    _VGG.own("vgg16_c", "vgg16_c", (133.639, 134), head="classifier.6", paper_top1=72.7),
    _tv("vgg16", (138.358, 138), 71.592, 74.4),
    _tv("vgg16_bn", (138.366, 138), 73.360),
    _tv("vgg19", (143.667, 144), 72.376, 74.5),
    _tv("vgg19_bn", (143.678, 144), 74.218),
)
