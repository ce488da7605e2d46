"""Segmenters without published weights: U-Net as in 2015, SETR; and the decoders of segmentation-models-pytorch on a
ResNet-34."""

from __future__ import annotations

from export.catalogue.family import HALF, Arguments, Pixels
from export.catalogue.located import ADE20K, VOC_SEGMENTATION, LocatedFamily, own_labels, squash
from export.catalogue.row import Row
from service.manifest import ResizeRule

UNET_PAPER = "U-Net: Convolutional Networks for Biomedical Image Segmentation (arXiv:1505.04597)"
CHOSEN = "the package sets no size; one that a CPU can afford"
SETR_PAPER = (
    "Rethinking Semantic Segmentation from a Sequence-to-Sequence Perspective with Transformers (arXiv:2012.15840)"
)
PUP_NOTE = "the paper does not say what its decoder has beyond the text; here 256 channels throughout"

UNET = LocatedFamily("U-Net", UNET_PAPER, 2015, "own", VOC_SEGMENTATION, "semantic")
SETR = LocatedFamily("SETR", SETR_PAPER, 2020, "own", ADE20K, "semantic")
_SMP = (
    # name, constructor, family, paper, year, millions, more arguments
    ("unet_resnet34", "Unet", "U-Net", UNET_PAPER, 2015, 24.439, ()),
    (
        "pspnet_resnet34",
        "PSPNet",
        "PSPNet",
        "Pyramid Scene Parsing Network (arXiv:1612.01105)",
        2016,
        21.530,
        (),
    ),
    (
        "fpn_resnet34",
        "FPN",
        "FPN",
        "Feature Pyramid Networks for Object Detection (arXiv:1612.03144)",
        2016,
        23.158,
        (),
    ),
    (
        "unetplusplus_resnet34",
        "UnetPlusPlus",
        "U-Net++",
        "UNet++: A Nested U-Net Architecture for Medical Image Segmentation (arXiv:1807.10165)",
        2018,
        26.082,
        (),
    ),
    (
        "deeplabv3plus_resnet34",
        "DeepLabV3Plus",
        "DeepLabV3+",
        "Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation (arXiv:1802.02611)",
        2018,
        22.443,
        (),
    ),
    (
        "upernet_resnet34",
        "UPerNet",
        "UPerNet",
        "Unified Perceptual Parsing for Scene Understanding (arXiv:1807.10221)",
        2018,
        29.605,
        (),
    ),
)


def _smp(name: str, constructor: str, family: str, paper: str, year: int, millions: float, more: Arguments) -> Row:
    kind = LocatedFamily(family, paper, year, "smp", VOC_SEGMENTATION, "semantic")
    arguments: Arguments = (("encoder_name", "resnet34"), ("classes", 21), *more)
    return kind.row(
        name, "semantic", squash(256, CHOSEN), (millions, None), constructor=constructor, arguments=arguments, batch=16
    )


CELLS, EDGES = own_labels("background", "cell"), own_labels("background", "edge")
GREY = Pixels(ResizeRule("squash", (572, 572)), HALF, HALF, "the paper's size, in grey; no library")


def _setr(decoder: str, millions: tuple[float, float], note: str = "") -> Row:
    return SETR.row(
        f"setr_{decoder}_vit_large",
        "semantic",
        Pixels(ResizeRule("squash", (512, 512)), HALF, HALF, "as its ViT; the paper's size for ADE20K"),
        millions,
        constructor=f"setr_{decoder}",
        note=note,
        batch=2,
    )


ROWS: tuple[Row, ...] = (
    UNET.row(
        "unet_2015",
        "unet_2015",
        GREY,
        (31.031, None),
        constructor="unet_2015",
        labels=CELLS.labels,
        label_names=CELLS.names,
        batch=4,
    ),
    *(_smp(*row) for row in _SMP),
    LocatedFamily("U-Net", UNET_PAPER, 2015, "smp", EDGES.labels, "semantic").row(
        "unet_resnet34_edges",
        "edges",
        squash(256, CHOSEN),
        (24.436, None),
        constructor="Unet",
        arguments=(("encoder_name", "resnet34"), ("classes", 1)),
        label_names=EDGES.names,
        batch=16,
    ),
    _setr("naive", (304.451, 305.7)),
    _setr("pup", (308.319, 318.3), PUP_NOTE),
    _setr("mla", (309.410, 310.6)),
    LocatedFamily(
        "DPT", "Vision Transformers for Dense Prediction (arXiv:2103.13413)", 2021, "smp", VOC_SEGMENTATION, "semantic"
    ).row(
        "dpt_vit_base",
        "semantic",
        Pixels(ResizeRule("squash", (224, 224)), HALF, HALF, "its encoder's size"),
        (137.812, None),
        constructor="DPT",
        arguments=(("encoder_name", "tu-vit_base_patch16_224.augreg_in21k"), ("classes", 21)),
        batch=8,
    ),
)
