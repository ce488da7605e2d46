"""Detectors by anchors, and the masks that followed: SSD, RetinaNet, FCOS, Faster and Mask R-CNN, as torchvision has
them."""

from __future__ import annotations

from export.catalogue.family import HALF, Pixels
from export.catalogue.located import COCO, REDUCED, LocatedFamily, letterbox, torchvision_ap
from export.catalogue.row import Row
from service.manifest import ResizeRule

TAG = "COCO_V1"
FULL = REDUCED.format(800, 1333)
SSD_MEAN, SSD_STD = (0.48235, 0.45882, 0.40784), (1 / 255, 1 / 255, 1 / 255)

FASTER = LocatedFamily(
    "Faster R-CNN",
    "Faster R-CNN: Towards Real-Time Object Detection with Region Proposal Networks (arXiv:1506.01497); with FPN "
    "(arXiv:1612.03144)",
    2015,
    "torchvision",
    COCO,
)
SSD = LocatedFamily("SSD", "SSD: Single Shot MultiBox Detector (arXiv:1512.02325)", 2015, "torchvision", COCO)
MASK = LocatedFamily("Mask R-CNN", "Mask R-CNN (arXiv:1703.06870)", 2017, "torchvision", COCO, "instance")
RETINA = LocatedFamily(
    "RetinaNet", "Focal Loss for Dense Object Detection (arXiv:1708.02002)", 2017, "torchvision", COCO
)
SSDLITE = LocatedFamily(
    "SSDLite",
    "MobileNetV2 (arXiv:1801.04381), section 6.2, on MobileNetV3 (arXiv:1905.02244)",
    2018,
    "torchvision",
    COCO,
)
FCOS = LocatedFamily(
    "FCOS", "FCOS: Fully Convolutional One-Stage Object Detection (arXiv:1904.01355)", 2019, "torchvision", COCO
)


def _faster(name: str, side_px: int, note: str, millions: float, ap: float) -> Row:
    return FASTER.row(
        name,
        "faster_rcnn",
        letterbox(side_px, note),
        (millions, round(millions, 1)),
        quality=torchvision_ap(name, ap),
        tag=TAG,
        batch=4,
    )


def _masks(name: str, millions: float, mask_ap: float) -> Row:
    return MASK.row(
        name,
        "mask_rcnn",
        letterbox(512, FULL),
        (millions, round(millions, 1)),
        quality=torchvision_ap(name, mask_ap, "mask AP"),
        tag=TAG,
        batch=4,
    )


def _retina(name: str, millions: float, ap: float) -> Row:
    return RETINA.row(
        name,
        "retinanet",
        letterbox(512, FULL),
        (millions, round(millions, 1)),
        quality=torchvision_ap(name, ap),
        tag=TAG,
    )


ROWS = (
    _faster("fasterrcnn_resnet50_fpn", 512, FULL, 41.808, 37.0),
    _faster("fasterrcnn_resnet50_fpn_v2", 512, FULL, 43.712, 46.7),
    _faster("fasterrcnn_mobilenet_v3_large_fpn", 512, FULL, 19.411, 32.8),
    _faster("fasterrcnn_mobilenet_v3_large_320_fpn", 448, REDUCED.format(320, 640), 19.411, 22.8),
    SSD.row(
        "ssd300_vgg16",
        "ssd",
        Pixels(ResizeRule("squash", (300, 300)), SSD_MEAN, SSD_STD),
        (35.642, 35.6),
        quality=torchvision_ap("ssd300_vgg16", 25.1),
        tag=TAG,
    ),
    _masks("maskrcnn_resnet50_fpn", 44.455, 34.6),
    _masks("maskrcnn_resnet50_fpn_v2", 46.359, 41.8),
    _retina("retinanet_resnet50_fpn", 34.068, 36.4),
    _retina("retinanet_resnet50_fpn_v2", 38.199, 41.5),
    SSDLITE.row(
        "ssdlite320_mobilenet_v3_large",
        "ssd",
        Pixels(ResizeRule("squash", (320, 320)), HALF, HALF),
        (3.440, 3.4),
        quality=torchvision_ap("ssdlite320_mobilenet_v3_large", 21.3),
        tag=TAG,
        pictures=7,
        batch=16,
    ),
    FCOS.row(
        "fcos_resnet50_fpn",
        "fcos",
        letterbox(512, FULL),
        (32.323, 32.3),
        quality=torchvision_ap("fcos_resnet50_fpn", 39.2),
        tag=TAG,
    ),
)
