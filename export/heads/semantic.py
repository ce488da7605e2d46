"""Networks that give a class for every pixel.

image ─▶ network ─▶ logits (N, C, h, w) ─▶ bilinear to the input's size ─▶ the largest ─▶ class_map
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.heads.located import Final, OverPixels


class Semantic(OverPixels):
    """class_map (N, H, W); then the logits as the network gives them."""

    outputs = ("class_map",)
    taps = ("logits",)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        logits = self.logits(self.pixels(image))
        full = logits
        if tuple(logits.shape[-2:]) != self.size_hw:
            full = F.interpolate(logits, size=self.size_hw, mode="bilinear", align_corners=False)
        return full.argmax(1).to(torch.uint8), logits

    def logits(self, x: Tensor) -> Tensor:
        out: Tensor = self.module(x)
        return out

    def finals(self) -> tuple[tuple[Final, ...], ...]:
        return ((Final(self.last_layer(), 2.0),),)

    def last_layer(self) -> nn.Module:
        """The last layer with weights of the network."""
        return [layer for layer in self.module.modules() if isinstance(layer, nn.Conv2d)][-1]


class Edges(Semantic):
    """One logit a pixel: 1 where it is above zero."""

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        logits = self.logits(self.pixels(image))
        return (logits[:, 0] > 0).to(torch.uint8), logits


class ValidUNet(Semantic):
    """A network that sees grey pictures and answers for their middle; around it the map says 255, not seen."""

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        logits = self.module(self.pixels(image).mean(1, keepdim=True))
        sides = [(a - b) // 2 for a, b in zip(self.size_hw, logits.shape[-2:], strict=True)]
        found = F.pad(logits.argmax(1), (sides[1], sides[1], sides[0], sides[0]), value=255)
        return found.to(torch.uint8), logits


class TorchvisionSemantic(Semantic):
    """FCN, DeepLabV3 and LR-ASPP give a dictionary, at the input's size."""

    def logits(self, x: Tensor) -> Tensor:
        out: Tensor = self.module(x)["out"]
        return out

    def finals(self) -> tuple[tuple[Final, ...], ...]:
        classifier = self.module.classifier
        if hasattr(classifier, "high_classifier"):  # LR-ASPP adds two
            return ((Final(classifier.low_classifier, 1.5), Final(classifier.high_classifier, 1.5)),)
        return ((Final(classifier[-1], 2.0),),)
