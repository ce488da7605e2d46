"""Big Transfer: pre-activation ResNets with group normalisation and weight standardisation, trained on far more data.

The paper's S, M and L are the same networks, trained on ImageNet-1k, ImageNet-21k and JFT. The weights published are M.
"""

from __future__ import annotations

from export.catalogue.family import Arguments, Family, halved
from export.catalogue.row import Row

_BIT = Family("BiT", "Big Transfer (BiT): General Visual Representation Learning (arXiv:1912.11370)", 2019)
_NOT_ZERO: Arguments = (("zero_init_last", False),)


def _bit(size: str, millions: tuple[float, float | None], top1: float, side_px: int = 448, note: str = "") -> Row:
    name = f"resnetv2_{size}_bit"
    return _BIT.timm(
        name,
        name,
        "head.fc",
        halved(side_px, side_px, "bilinear"),
        millions,
        tag="goog_in21k_ft_in1k",
        top1=top1,
        arguments=_NOT_ZERO,
        note=note,
    )


ROWS = (
    _bit("50x1", (25.549, None), 80.340),
    _bit("50x3", (217.319, None), 84.020),
    _bit("101x1", (44.541, None), 82.342),
    _bit("101x3", (387.935, None), 84.438),
    _bit("152x2", (236.335, None), 84.510),
    _bit("152x4", (936.533, 928), 84.916, 480),
)
