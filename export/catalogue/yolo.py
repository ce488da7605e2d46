"""R-CNN, Fast R-CNN and YOLO v1 to v3: no library has them. Nobody publishes weights in a form that can be loaded."""

from __future__ import annotations

from export.catalogue.family import Pixels
from export.catalogue.located import COCO, VOC, LocatedFamily, letterbox
from export.catalogue.row import IMAGENET_MEAN, IMAGENET_STD, Row
from service.manifest import ResizeRule

# The authors' code divides by 255 and does nothing else.
PLAIN = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
WINDOWS = "the paper scales the shorter side to 600 px; regions are a fixed grid of windows, see docs/decisions.md"

RCNN = LocatedFamily(
    "R-CNN",
    "Rich feature hierarchies for accurate object detection and semantic segmentation (arXiv:1311.2524)",
    2013,
    "own",
    VOC,
)
FAST = LocatedFamily("Fast R-CNN", "Fast R-CNN (arXiv:1504.08083)", 2015, "own", VOC)
V1 = LocatedFamily(
    "YOLO v1", "You Only Look Once: Unified, Real-Time Object Detection (arXiv:1506.02640)", 2015, "own", VOC
)
V2 = LocatedFamily("YOLO v2", "YOLO9000: Better, Faster, Stronger (arXiv:1612.08242)", 2016, "own", COCO)
V3 = LocatedFamily("YOLO v3", "YOLOv3: An Incremental Improvement (arXiv:1804.02767)", 2018, "own", COCO)


def _letterbox(side_px: int) -> Pixels:
    return Pixels(ResizeRule("letterbox", (side_px, side_px)), *PLAIN, "as the authors' code")


ROWS: tuple[Row, ...] = (
    RCNN.row(
        "rcnn_alexnet",
        "rcnn",
        Pixels(ResizeRule("letterbox", (512, 512)), IMAGENET_MEAN, IMAGENET_STD, WINDOWS),
        (57.823, None),
        constructor="rcnn",
        batch=2,
    ),
    FAST.row("fast_rcnn_vgg16", "rcnn", letterbox(512, WINDOWS), (134.693, None), constructor="fast_rcnn", batch=4),
    V1.row(
        "yolo_v1",
        "yolo_v1",
        Pixels(ResizeRule("squash", (448, 448)), *PLAIN, "as the authors' code"),
        (271.703, None),
        constructor="yolo_v1",
    ),
    V2.row("yolo_v2", "yolo_v2", _letterbox(416), (50.962, None), constructor="yolo_v2"),
    V3.row("yolo_v3", "yolo_v3", _letterbox(416), (61.949, None), constructor="yolo_v3"),
)
