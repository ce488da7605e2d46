"""Detectors and segmenters with queries, as transformers has them: DETR, Deformable DETR, MaskFormer, Mask2Former,
OneFormer; and SegFormer."""

from __future__ import annotations

from export.catalogue.located import (
    ADE20K,
    COCO,
    COCO_PANOPTIC,
    REDUCED,
    LocatedFamily,
    Quality,
    letterbox,
    squash,
)
from export.catalogue.row import Row

FULL = REDUCED.format(800, 1333)
PIXELS = letterbox(512, FULL)
ROUNDED = "the paper prints whole millions, of the network with COCO's classes"
OWN_SIZE = "the size of its own post-processing, both sides stretched; the package has no other metadata"

DETR = LocatedFamily(
    "DETR", "End-to-End Object Detection with Transformers (arXiv:2005.12872)", 2020, "transformers", COCO
)
DETR_PANOPTIC = LocatedFamily("DETR", DETR.paper, 2020, "transformers", COCO_PANOPTIC, "panoptic")
DEFORMABLE = LocatedFamily(
    "Deformable DETR",
    "Deformable DETR: Deformable Transformers for End-to-End Object Detection (arXiv:2010.04159)",
    2020,
    "transformers",
    COCO,
)
UP_DETR = LocatedFamily(
    "UP-DETR",
    "UP-DETR: Unsupervised Pre-training for Object Detection with Transformers (arXiv:2011.09094)",
    2020,
    "transformers",
    COCO,
)
SEGFORMER = LocatedFamily(
    "SegFormer",
    "SegFormer: Simple and Efficient Design for Semantic Segmentation with Transformers (arXiv:2105.15203)",
    2021,
    "transformers",
    ADE20K,
    "semantic",
)
MASKFORMER = LocatedFamily(
    "MaskFormer",
    "Per-Pixel Classification is Not All You Need for Semantic Segmentation (arXiv:2107.06278)",
    2021,
    "transformers",
    COCO_PANOPTIC,
    "panoptic",
)
MASK2FORMER = "Masked-attention Mask Transformer for Universal Image Segmentation (arXiv:2112.01527)"
M2F_PANOPTIC = LocatedFamily("Mask2Former", MASK2FORMER, 2021, "transformers", COCO_PANOPTIC, "panoptic")
M2F_INSTANCE = LocatedFamily("Mask2Former", MASK2FORMER, 2021, "transformers", COCO, "instance")
M2F_SEMANTIC = LocatedFamily("Mask2Former", MASK2FORMER, 2021, "transformers", ADE20K, "semantic")

ONEFORMER = LocatedFamily(
    "OneFormer",
    "OneFormer: One Transformer to Rule Universal Image Segmentation (arXiv:2211.06220)",
    2022,
    "transformers",
    COCO_PANOPTIC,
    "panoptic",
)


def _paper(value: float, metric: str, dataset: str = "coco-val2017", where: str = "the paper") -> Quality:
    return Quality(value, metric, dataset, where)


def _panoptic(swin: str, millions: tuple[float, float | None], pq: float, note: str = "") -> Row:
    return M2F_PANOPTIC.row(
        f"mask2former_swin_{swin}_panoptic",
        "mask2former_panoptic",
        squash(384, OWN_SIZE),
        millions,
        constructor="mask2former",
        arguments=(("swin", swin), ("classes", 133)),
        quality=_paper(pq, "PQ"),
        tag=f"facebook/mask2former-swin-{swin}-coco-panoptic",
        licence="CC-BY-NC-4.0",
        note=note,
        traced=True,
        batch=4,
    )


ROWS = (
    DETR.row(
        "detr_resnet50",
        "queries",
        PIXELS,
        (41.525, 41),
        constructor="detr",
        quality=_paper(42.0, "AP"),
        tag="facebook/detr-resnet-50",
        licence="Apache-2.0",
        note=ROUNDED,
    ),
    DETR.row(
        "detr_resnet101",
        "queries",
        PIXELS,
        (60.465, 60),
        constructor="detr",
        arguments=(("backbone", "resnet101"),),
        quality=_paper(43.5, "AP"),
        tag="facebook/detr-resnet-101",
        licence="Apache-2.0",
    ),
    DETR_PANOPTIC.row(
        "detr_resnet50_panoptic",
        "detr_panoptic",
        PIXELS,
        (42.899, 42.8),
        constructor="detr_panoptic",
        quality=_paper(43.4, "PQ"),
        tag="facebook/detr-resnet-50-panoptic",
        licence="Apache-2.0",
        batch=4,
    ),
    DEFORMABLE.row(
        "deformable_detr_resnet50",
        "deformable_queries",
        PIXELS,
        (40.070, 40),
        constructor="deformable_detr",
        quality=_paper(43.8, "AP"),
        tag="SenseTime/deformable-detr",
        licence="Apache-2.0",
        traced=True,
    ),
    DEFORMABLE.row(
        "deformable_detr_resnet50_refine",
        "deformable_queries",
        PIXELS,
        (40.733, 41),
        constructor="deformable_detr",
        arguments=(("with_box_refine", True),),
        quality=_paper(45.4, "AP"),
        tag="SenseTime/deformable-detr-with-box-refine",
        licence="Apache-2.0",
        traced=True,
    ),
    DEFORMABLE.row(
        "deformable_detr_resnet50_two_stage",
        "deformable_queries",
        PIXELS,
        (41.182, 41),
        constructor="deformable_detr",
        arguments=(("with_box_refine", True), ("two_stage", True)),
        quality=_paper(46.2, "AP"),
        tag="SenseTime/deformable-detr-with-box-refine-two-stage",
        licence="Apache-2.0",
        traced=True,
    ),
    UP_DETR.row(
        "up_detr_resnet50",
        "queries",
        PIXELS,
        (41.525, 41),
        constructor="detr",
        note=f"the fine-tuned network is DETR; {ROUNDED}",
    ),
    SEGFORMER.row(
        "segformer_b0",
        "semantic",
        squash(512),
        (3.752, 3.8),
        constructor="segformer",
        arguments=(("size", "b0"),),
        quality=_paper(37.4, "mIoU", "ade20k"),
        tag="nvidia/segformer-b0-finetuned-ade-512-512",
        licence="NVIDIA, research and evaluation only",
    ),
    SEGFORMER.row(
        "segformer_b5",
        "semantic",
        squash(640),
        (84.709, 84.7),
        constructor="segformer",
        arguments=(("size", "b5"),),
        quality=_paper(51.0, "mIoU", "ade20k"),
        tag="nvidia/segformer-b5-finetuned-ade-640-640",
        licence="NVIDIA, research and evaluation only",
        batch=4,
    ),
    MASKFORMER.row(
        "maskformer_swin_base_panoptic",
        "maskformer_panoptic",
        squash(384, OWN_SIZE),
        (101.827, 102),
        constructor="maskformer",
        quality=_paper(51.8, "PQ"),
        tag="facebook/maskformer-swin-base-coco",
        licence="CC-BY-NC-4.0",
        traced=True,
        batch=4,
    ),
    _panoptic("tiny", (47.437, 47), 53.2),
    _panoptic("small", (68.755, 69), 54.6),
    _panoptic("base", (106.920, 107), 55.1),
    _panoptic("large", (215.488, 216), 57.8),
    M2F_INSTANCE.row(
        "mask2former_swin_tiny_instance",
        "mask2former_instance",
        squash(384, OWN_SIZE),
        (47.423, 47),
        constructor="mask2former",
        arguments=(("swin", "tiny"), ("classes", 80)),
        quality=_paper(45.0, "mask AP"),
        tag="facebook/mask2former-swin-tiny-coco-instance",
        licence="CC-BY-NC-4.0",
        traced=True,
        batch=4,
    ),
    M2F_SEMANTIC.row(
        "mask2former_swin_tiny_semantic",
        "mask2former_semantic",
        squash(384, OWN_SIZE),
        (47.441, 47),
        constructor="mask2former",
        arguments=(("swin", "tiny"), ("classes", 150)),
        quality=_paper(47.7, "mIoU", "ade20k"),
        tag="facebook/mask2former-swin-tiny-ade-semantic",
        licence="CC-BY-NC-4.0",
        traced=True,
        batch=4,
    ),
    ONEFORMER.row(
        "oneformer_swin_large_panoptic",
        "oneformer_panoptic",
        PIXELS,
        (218.784, 219),
        constructor="oneformer",
        quality=_paper(57.9, "PQ"),
        tag="shi-labs/oneformer_coco_swin_large",
        licence="MIT",
        traced=True,
        batch=4,
    ),
)
