"""The starter heads: people, their masks, road scenes, on the frozen EfficientNet-Lite0. Trained here (export.starter).

Three input sizes each, so that detect and segment have tiers of their own. Accuracy is measured, percent, as the heads'
own model cards say (export/starter/heads/*.md).
"""

from __future__ import annotations

from export.catalogue.row import Network, Rgb, Row, StarterWeights
from service.manifest import Accuracy, ResizeRule

HALF: Rgb = (0.5, 0.5, 0.5)
PAPER = "SSD: Single Shot MultiBox Detector (arXiv:1512.02325) and FCOS (arXiv:1904.01355), in small"
MASK_PAPER = "Mask R-CNN (arXiv:1703.06870), its mask head, in small"
SCENE_PAPER = "U-Net: Convolutional Networks for Biomedical Image Segmentation (arXiv:1505.04597), in small"
LICENCE = "backbone Apache-2.0; head trained on {}: see MODEL_CARD.md"
HELD_OUT = "Penn-Fudan, held-out fifth"

DETECT = ("ssdlite_efficientnet_lite0.safetensors", "c4a48d89206f754df0d6e118b1489055195a72f02b491c6e352b6d74ccd810e3")
MASKS = ("masks_efficientnet_lite0.safetensors", "226b24839ea8dcd4f10608ebaa88b2d7f3805970d15075beca85349365799d48")
SCENES = ("unet_efficientnet_lite0.safetensors", "9bb0090929445b99af9c3680824efec676e0222edb9ac4a9e5789c893880fb1a")


def _measured(percent: float, metric: str, dataset: str, head: str) -> Accuracy:
    return Accuracy(percent, metric, dataset, f"measured; export/starter/heads/{head}.md")


def _people(side_px: int, ap50_percent: float) -> Row:
    name = "ssdlite_efficientnet_lite0"
    return Row(
        name=f"{name}_{side_px}",
        variant_of=name,
        family="SSDLite",
        paper=PAPER,
        year=2026,
        task="detect",
        network=Network("starter", "detect", head=""),
        resize=ResizeRule("letterbox", (side_px, side_px)),
        mean=HALF,
        std=HALF,
        classes=1,
        label_set="own",
        label_names=("person",),
        params_millions=3.131,
        paper_params_millions=None,
        accuracy=_measured(ap50_percent, "AP50", HELD_OUT, name),
        weights=(StarterWeights((DETECT,), LICENCE.format("Penn-Fudan and coco128")),),
    )


def _masks(side_px: int, ap50_percent: float) -> Row:
    name = "masks_efficientnet_lite0"
    return Row(
        name=f"{name}_{side_px}",
        variant_of=name,
        family="SSDLite with masks",
        paper=MASK_PAPER,
        year=2026,
        task="segment",
        segment_kind="instance",
        network=Network("starter", "instance", head=""),
        resize=ResizeRule("letterbox", (side_px, side_px)),
        mean=HALF,
        std=HALF,
        classes=1,
        label_set="own",
        label_names=("person",),
        params_millions=3.162,
        paper_params_millions=None,
        accuracy=_measured(ap50_percent, "mask AP50", HELD_OUT, name),
        weights=(StarterWeights((MASKS, DETECT), LICENCE.format("Penn-Fudan and coco128")),),
    )


def _scenes(size_hw: tuple[int, int], miou_percent: float) -> Row:
    name = "unet_efficientnet_lite0"
    return Row(
        name=f"{name}_{size_hw[0]}x{size_hw[1]}",
        variant_of=name,
        family="U-Net",
        paper=SCENE_PAPER,
        year=2026,
        task="segment",
        segment_kind="semantic",
        network=Network("starter", "segment", head=""),
        resize=ResizeRule("letterbox", size_hw),
        mean=HALF,
        std=HALF,
        classes=11,
        label_set="camvid",
        params_millions=3.099,
        paper_params_millions=None,
        accuracy=_measured(miou_percent, "mIoU", "CamVid val", name),
        weights=(StarterWeights((SCENES,), LICENCE.format("CamVid")),),
    )


ROWS = (
    _people(256, 94.0),
    _people(384, 94.2),
    _people(512, 96.1),
    _masks(256, 91.7),
    _masks(384, 95.5),
    _masks(512, 95.5),
    _scenes((192, 256), 65.77),
    _scenes((384, 512), 72.08),
    _scenes((480, 640), 72.51),
)
