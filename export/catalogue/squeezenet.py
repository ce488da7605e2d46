"""SqueezeNet and SqueezeNeXt: AlexNet's accuracy in a fiftieth of the weights, and what was learnt from it."""

from __future__ import annotations

from export.catalogue.family import Family, crop
from export.catalogue.row import Row

_SQUEEZENET = Family(
    "SqueezeNet", "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters (arXiv:1602.07360)", 2016
)
_NEXT = Family("SqueezeNeXt", "SqueezeNext: Hardware-Aware Neural Network Design (arXiv:1803.10615)", 2018)


def _next(name: str, millions: tuple[float, float], top1: float | None = None, paper_top1: float | None = None) -> Row:
    return _NEXT.pytorchcv(name, name, millions, top1=top1, paper_top1=paper_top1)


ROWS = (
    _SQUEEZENET.torchvision("squeezenet1_0", "classifier.1", crop(224, 256), (1.248, 1.25), 58.092, paper_top1=57.5),
    _SQUEEZENET.torchvision("squeezenet1_1", "classifier.1", crop(224, 256), (1.235, 1.24), 58.178),
    _SQUEEZENET.pytorchcv(
        "squeezenet1_0_simple_bypass",
        "squeezeresnet_v1_0",
        (1.248, 1.25),
        head="output.final_conv",
        top1=60.23,
        paper_top1=60.4,
    ),
    _SQUEEZENET.own(
        "squeezenet1_0_complex_bypass",
        "squeezenet_complex_bypass",
        (1.590, 1.9),
        paper_top1=58.8,
        note="the paper says 7.7 MB; its figure 2, counted, gives 6.4 MB",
    ),
    _next("sqnxt23_w1", (0.7241, 0.72), 57.49, 59.05),
    _next("sqnxt23_w3d2", (1.512, 1.5), paper_top1=63.52),
    _next("sqnxt23_w2", (2.584, 2.6), paper_top1=67.18),
    _next("sqnxt23v5_w1", (0.9218, 0.93), 59.23, 59.24),
    _NEXT.pytorchcv(
        "sqnxt23v5_w3d2", "sqnxt23v5_w3d2", (1.954, 1.9), paper_top1=64.6, note="pytorchcv's has 1.95, and says not why"
    ),
    _NEXT.pytorchcv(
        "sqnxt23v5_w2", "sqnxt23v5_w2", (3.366, 3.2), paper_top1=67.44, note="pytorchcv's has 3.37, and says not why"
    ),
)
