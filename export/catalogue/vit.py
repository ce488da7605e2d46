"""Vision Transformer: a picture is sixteen by sixteen words. And Image GPT, to which it is a thousand colours."""

from __future__ import annotations

from export.catalogue.family import HALF, Family, Pixels, crop, halved
from export.catalogue.row import Row
from service.manifest import ResizeRule

_VIT = Family(
    "ViT", "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale (arXiv:2010.11929)", 2020
)
_IGPT = Family("Image GPT", "Generative Pretraining from Pixels (ICML 2020)", 2020)
_COLOURS = Pixels(
    ResizeRule("crop", (32, 32), "bilinear", 32),
    HALF,
    HALF,
    "no library classifies with it; colours are -1..1 as the authors'",
)


def _vit(
    name: str,
    millions: tuple[float, float],
    tag: str,
    top1: float,
    paper_top1: float | None = None,
    pixels: Pixels | None = None,
    note: str = "",
) -> Row:
    sides = pixels or halved(224, 248)
    return _VIT.timm(name, name, "head", sides, millions, tag=tag, top1=top1, paper_top1=paper_top1, note=note)


def _igpt(size: str, millions: tuple[float, float], paper_top1: float | None = None, note: str = "") -> Row:
    """The head that the paper trains on top is not published; `random` and `file:` are what there is."""
    return _IGPT.own(
        f"igpt_{size}",
        "igpt",
        millions,
        head="model.score",
        pixels=_COLOURS,
        arguments=(("size", size),),
        paper_top1=paper_top1,
        note=note,
    )


ROWS = (
    _vit("vit_tiny_patch16_224", (5.717, 5.7), "augreg_in21k_ft_in1k", 75.454),
    _vit("vit_base_patch32_224", (88.224, 88), "augreg_in21k_ft_in1k", 80.716, 81.3),
    _vit("vit_base_patch16_224", (86.568, 86), "augreg2_in21k_ft_in1k", 85.096, 84.0),
    _vit("vit_large_patch32_384", (306.633, 307), "orig_in21k_ft_in1k", 81.510, pixels=halved(384, 384)),
    _vit("vit_large_patch16_224", (304.327, 307), "augreg_in21k_ft_in1k", 85.834, 87.76),
    _VIT.torchvision(
        "vit_h_14",
        "heads.head",
        crop(224, 224, "bicubic"),
        (632.046, 632),
        85.708,
        tag="IMAGENET1K_SWAG_LINEAR_V1",
        licence="CC-BY-NC-4.0",
        paper_top1=88.55,
    ),
    _igpt("s", (76.932, 76), note="the head for 1000 classes adds 0.5"),
    _igpt("m", (455.989, 455)),
    _igpt("l", (1363.664, 1362), 65.2),
    _igpt("xl", (6804.597, 6801), 72.0),
)
