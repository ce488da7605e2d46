"""Segmenters by convolution, as torchvision has them: FCN, DeepLabV3, LR-ASPP."""

from __future__ import annotations

from export.catalogue.family import Arguments
from export.catalogue.located import VOC_SEGMENTATION, LocatedFamily, Quality, letterbox
from export.catalogue.row import Row

TAG = "COCO_WITH_VOC_LABELS_V1"
SIDE_PX = 520
SQUARE = "the library scales the shorter side to 520 px and keeps the shape; here the longer side is 520 px"
# The published checkpoints hold the auxiliary classifier: it is built to be loaded, and then left out (export.network).
_BUILT_WITH_AUXILIARY: Arguments = (("aux_loss", True),)
WITH_AUXILIARY = "the figure is with the auxiliary classifier, which is for training alone"

FCN = LocatedFamily(
    "FCN",
    "Fully Convolutional Networks for Semantic Segmentation (arXiv:1411.4038)",
    2014,
    "torchvision",
    VOC_SEGMENTATION,
    "semantic",
)
DEEPLAB = LocatedFamily(
    "DeepLabV3",
    "Rethinking Atrous Convolution for Semantic Image Segmentation (arXiv:1706.05587)",
    2017,
    "torchvision",
    VOC_SEGMENTATION,
    "semantic",
)
LRASPP = LocatedFamily(
    "LR-ASPP",
    "Searching for MobileNetV3 (arXiv:1905.02244), section 6.4",
    2019,
    "torchvision",
    VOC_SEGMENTATION,
    "semantic",
)


def _row(family: LocatedFamily, name: str, millions: tuple[float, float], miou: float, note: str) -> Row:
    return family.row(
        name,
        "torchvision_semantic",
        letterbox(SIDE_PX, SQUARE),
        millions,
        arguments=() if family is LRASPP else _BUILT_WITH_AUXILIARY,
        quality=Quality(miou, "mIoU", "coco-val2017, VOC classes", f"torchvision, {name} {TAG}"),
        tag=TAG,
        note=note,
        batch=4,
    )


ROWS = (
    _row(FCN, "fcn_resnet50", (32.957, 35.322), 60.5, WITH_AUXILIARY),
    _row(FCN, "fcn_resnet101", (51.949, 54.314), 63.7, WITH_AUXILIARY),
    _row(DEEPLAB, "deeplabv3_resnet50", (39.639, 42.004), 66.4, WITH_AUXILIARY),
    _row(DEEPLAB, "deeplabv3_resnet101", (58.631, 60.996), 67.4, WITH_AUXILIARY),
    _row(DEEPLAB, "deeplabv3_mobilenet_v3_large", (11.026, 11.0), 60.3, ""),
    _row(LRASPP, "lraspp_mobilenet_v3_large", (3.222, 3.222), 57.9, ""),
)
