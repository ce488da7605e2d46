"""SE-BN-Inception: BN-Inception whose every unit weighs its maps by what all of them say of the whole picture.

Hu, Shen, Albanie, Sun, Wu: Squeeze-and-Excitation Networks (arXiv:1709.01507), figure 2, section 4.

    x ─▶ Inception unit ─▶ u ─────────────────────────────────────────────▶ × ─▶
                           └▶ average ─▶ C/16 ─▶ ReLU ─▶ C ─▶ sigmoid ─▶ s ─┘
"""

from __future__ import annotations

from typing import cast

from pytorchcv.model_provider import get_model
from torch import Tensor, nn

REDUCTION = 16


class Excited(nn.Module):
    """A unit with C output maps, and its squeeze and excitation."""

    def __init__(self, unit: nn.Module, maps: int) -> None:
        super().__init__()
        self.unit = unit
        self.squeeze = nn.Conv2d(maps, maps // REDUCTION, 1)
        self.excite = nn.Conv2d(maps // REDUCTION, maps, 1)

    def forward(self, x: Tensor) -> Tensor:
        u = self.unit(x)  # (N, C, H, W)
        s = self.squeeze(u.mean((2, 3), keepdim=True)).relu()  # (N, C/16, 1, 1)
        out: Tensor = u * self.excite(s).sigmoid()
        return out


# Output maps of BN-Inception's ten units, 3a to 5b (Ioffe, Szegedy, arXiv:1502.03167, figure 5).
MAPS = {"stage1": (256, 320), "stage2": (576, 576, 576, 608, 608), "stage3": (1056, 1024, 1024)}


def se_bn_inception() -> nn.Module:
    """(N, 3, 224, 224) → (N, 1000) logits: pytorchcv's BN-Inception with excited units."""
    network: nn.Module = get_model("bninception")
    for stage, maps in MAPS.items():
        units = cast(nn.Sequential, network.get_submodule(f"features.{stage}"))
        for (name, unit), count in zip(list(units.named_children()), maps, strict=True):
            setattr(units, name, Excited(unit, count))
    return network
