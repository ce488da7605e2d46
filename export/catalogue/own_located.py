"""Detectors and segmenters that no library has: Panoptic FPN, MobileDet, TSP-FCOS, TSP-RCNN, MaX-DeepLab. There
are no weights that fit: MaX-DeepLab's are checkpoints of TensorFlow's."""

from __future__ import annotations

from export.catalogue.family import HALF, Pixels
from export.catalogue.located import COCO, COCO_PANOPTIC, REDUCED, LocatedFamily, letterbox
from export.catalogue.row import Row
from service.manifest import ResizeRule

MOBILEDET = LocatedFamily(
    "MobileDet",
    "MobileDets: Searching for Object Detection Architectures for Mobile Accelerators (arXiv:2004.14525)",
    2020,
    "own",
    COCO,
)
PANOPTIC_FPN = LocatedFamily(
    "Panoptic FPN", "Panoptic Feature Pyramid Networks (arXiv:1901.02446)", 2019, "own", COCO_PANOPTIC, "panoptic"
)
TSP = LocatedFamily(
    "TSP", "Rethinking Transformer-based Set Prediction for Object Detection (arXiv:2011.10881)", 2020, "own", COCO
)
MAX_DEEPLAB = LocatedFamily(
    "MaX-DeepLab",
    "MaX-DeepLab: End-to-End Panoptic Segmentation with Mask Transformers (arXiv:2012.00759)",
    2020,
    "own",
    COCO_PANOPTIC,
    "panoptic",
)

PHONE = Pixels(ResizeRule("squash", (320, 320)), HALF, HALF, "as the authors' configurations; no library")
FULL = letterbox(512, f"as torchvision's pyramids; {REDUCED.format(800, 1333)}")
PADDED = Pixels(
    ResizeRule("letterbox", (641, 641)),
    HALF,
    HALF,
    "the authors' configuration pads to the right and below, with grey 127",
)
WITH_STATISTICS = "the authors count BatchNorm's running means and variances too: with them it is {} M here"


def _mobiledet(backbone: str, millions: tuple[float, float], note: str = "") -> Row:
    """The parameters are those that the authors' configurations name."""
    return MOBILEDET.row(
        f"ssdlite_mobiledet_{backbone}",
        "mobiledet",
        PHONE,
        millions,
        constructor="mobiledet",
        arguments=(("backbone", backbone),),
        note=note,
        pictures=7,
        batch=16,
    )


ROWS = (
    PANOPTIC_FPN.row(
        "panoptic_fpn_resnet50", "panoptic_fpn", FULL, (46.085, 45.9), constructor="panoptic_fpn", batch=2
    ),
    _mobiledet("cpu", (4.165, 4.21), WITH_STATISTICS.format(4.21)),
    _mobiledet("dsp", (7.102, 7.16)),
    _mobiledet("edgetpu", (4.147, 4.20), WITH_STATISTICS.format("4.20")),
    _mobiledet("gpu", (13.069, 13.11)),
    TSP.row("tsp_fcos_resnet50", "tsp_fcos", FULL, (51.511, 51.5), constructor="tsp_fcos", batch=4),
    TSP.row("tsp_rcnn_resnet50", "tsp_rcnn", FULL, (63.697, 63.6), constructor="tsp_rcnn", batch=4),
    MAX_DEEPLAB.row("max_deeplab_s", "max_deeplab", PADDED, (61.9, 61.9), constructor="max_deeplab", batch=2),
)
