"""EfficientNet: depth, width and resolution scaled together; trained by noisy students; for edge TPUs; version 2.

B0 to B7 from torchvision. The rest needs timm's `tf_` networks, which pad as TensorFlow does.
"""

from __future__ import annotations

from export.catalogue.family import HALF, Family, Pixels, crop, halved
from export.catalogue.row import Row
from service.manifest import ResizeRule

_B = Family(
    "EfficientNet",
    "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks (arXiv:1905.11946)",
    2019,
)
_NOISY = Family(
    "Noisy Student", "Self-training with Noisy Student improves ImageNet classification (arXiv:1911.04252)", 2019
)
_EDGE = Family("EfficientNet-EdgeTPU", "no paper; the authors' repository, tensorflow/tpu, efficientnet/edgetpu", 2019)
_PSEUDO = Family("Meta Pseudo Labels", "Meta Pseudo Labels (arXiv:2003.10580)", 2020)
_V2 = Family("EfficientNetV2", "EfficientNetV2: Smaller Models and Faster Training (arXiv:2104.00298)", 2021)
# The paper prints whole or tenth millions.
_PAPER_MILLIONS = (5.3, 7.8, 9.2, 12, 19, 30, 43, 66)


def _b(level: int, pixels: Pixels, ours: float, top1: float, paper_top1: float, tag: str = "IMAGENET1K_V1") -> Row:
    return _B.torchvision(
        f"efficientnet_b{level}",
        "classifier.1",
        pixels,
        (ours, _PAPER_MILLIONS[level]),
        top1,
        tag=tag,
        paper_top1=paper_top1,
    )


def _noisy(level: int, sides_px: tuple[int, int], ours: float, top1: float, paper_top1: float) -> Row:
    return _NOISY.timm(
        f"efficientnet_b{level}_ns",
        f"tf_efficientnet_b{level}",
        "classifier",
        crop(*sides_px, "bicubic"),
        (ours, _PAPER_MILLIONS[level]),
        tag="ns_jft_in1k",
        top1=top1,
        paper_top1=paper_top1,
    )


def _edge(size: str, pixels: Pixels, millions: tuple[float, float], tag: str, top1: float, paper_top1: float) -> Row:
    return _EDGE.timm(
        f"efficientnet_edgetpu_{size}",
        f"efficientnet_e{size}",
        "classifier",
        pixels,
        millions,
        tag=tag,
        top1=top1,
        paper_top1=paper_top1,
    )


LADDER = (
    _b(0, crop(224, 256, "bicubic"), 5.289, 77.692, 77.1),
    _b(1, crop(240, 255), 7.794, 79.838, 79.1, "IMAGENET1K_V2"),
    _b(2, crop(288, 288, "bicubic"), 9.110, 80.608, 80.1),
    _b(3, crop(300, 320, "bicubic"), 12.233, 82.008, 81.6),
    _b(4, crop(380, 384, "bicubic"), 19.342, 83.384, 82.9),
    _b(5, crop(456, 456, "bicubic"), 30.390, 83.444, 83.6),
    _b(6, crop(528, 528, "bicubic"), 43.041, 84.008, 84.0),
    _b(7, crop(600, 600, "bicubic"), 66.348, 84.122, 84.3),
)
NOISY_STUDENTS = (
    _noisy(0, (224, 256), 5.289, 78.670, 78.8),
    _noisy(1, (240, 272), 7.794, 81.394, 81.5),
    _noisy(2, (260, 292), 9.110, 82.378, 82.4),
    _noisy(3, (300, 331), 12.233, 84.056, 84.1),
    _noisy(4, (380, 412), 19.342, 85.162, 85.3),
    _noisy(5, (456, 488), 30.390, 86.088, 86.1),
    _noisy(6, (528, 560), 43.041, 86.456, 86.4),
    _noisy(7, (600, 632), 66.348, 86.840, 86.9),
    _NOISY.timm(
        "efficientnet_l2_ns",
        "tf_efficientnet_l2",
        "classifier",
        crop(800, 833, "bicubic"),
        (480.309, 480),
        tag="ns_jft_in1k",
        top1=88.352,
        paper_top1=88.4,
    ),
    _NOISY.timm(
        "efficientnet_l2_ns_475",
        "tf_efficientnet_l2",
        "classifier",
        crop(475, 507, "bicubic"),
        (480.309, 480),
        tag="ns_jft_in1k_475",
        top1=88.234,
    ),
    _PSEUDO.timm(
        "efficientnet_l2_mpl",
        "tf_efficientnet_l2",
        "classifier",
        crop(512, 547, "bicubic", note="the authors' 512 pixels; timm has the network without these weights"),
        (480.309, 480),
        paper_top1=90.2,
    ),
)
EDGE_TPU = (
    _edge("s", crop(224, 256, "bicubic"), (5.438, 5.4), "ra_in1k", 78.054, 77.3),
    _edge("m", crop(240, 272, "bicubic"), (6.899, 6.9), "ra2_in1k", 79.240, 78.7),
    _edge("l", crop(300, 331, "bicubic"), (10.590, 10.6), "ra_in1k", 81.312, 80.5),
)
_SQUASHED_512 = Pixels(
    ResizeRule("squash", (512, 512), "bicubic"),
    HALF,
    HALF,
    "timm tests at 512; its first entry is the training side, 384",
)
VERSION_2 = (
    _V2.torchvision(
        "efficientnet_v2_s",
        "classifier.1",
        crop(384, 384),
        (21.458, 22),
        84.228,
        paper_top1=83.9,
        note="the paper prints 22; the network released has 21.46",
    ),
    _V2.torchvision("efficientnet_v2_m", "classifier.1", crop(480, 480), (54.139, 54), 85.112, paper_top1=85.1),
    _V2.torchvision(
        "efficientnet_v2_l",
        "classifier.1",
        halved(480, 480),
        (118.515, 120),
        85.808,
        paper_top1=85.7,
        note="the paper prints 120; the network released has 118.52",
    ),
    _V2.timm(
        "efficientnet_v2_xl",
        "tf_efficientnetv2_xl",
        "classifier",
        _SQUASHED_512,
        (208.120, 208),
        tag="in21k_ft_in1k",
        top1=86.748,
        paper_top1=87.3,
    ),
    # The network of the paper's first version: 272 maps in the last stage and 1792 in the head.
    _V2.timm(
        "efficientnet_v2_s_first",
        "efficientnetv2_rw_s",
        "classifier",
        crop(384, 384, "bicubic", note="timm tests at 384; its first entry is the training side, 288"),
        (23.941, 24),
        tag="ra2_in1k",
        top1=83.808,
        paper_top1=83.9,
    ),
)

ROWS = (*LADDER, *NOISY_STUDENTS, *EDGE_TPU, *VERSION_2)
