"""MaX-DeepLab's masks on one map: every pixel goes to its likeliest slot, or to none.

image ─▶ network ─┬─▶ class logits ─▶ the slots that are sure of a class ─┐
                  └─▶ mask logits ──▶ the likeliest slot of every pixel ──┴─▶ is it sure, and sure of the pixel?
                                                                              ─▶ is there enough of it?

Source: Wang et al. (arXiv:2012.00759), section 3; google-research/deeplab2,
model/post_processor/max_deeplab.py ("pixelwise"), and for the limits
configs/coco/max_deeplab/max_deeplab_s_os16_res641_400k.textproto.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from export.architectures.axial_resnet import AxialAttention, Block
from export.architectures.max_deeplab import Attention, DualPath
from export.heads.coco import STUFF
from export.heads.located import Final
from export.heads.query_masks import PanopticMasks, painted, segment_numbers

LEAST_CLASS_SCORE = 0.7
# Of a pixel's slot, among those that are sure of their class.
LEAST_PIXEL_SCORE = 0.4
# Of a thing, and of all stuff of one class, there must be that much, in pixels of the input.
LEAST_THING_PX = 100
LEAST_STUFF_PX = 1600


class MaxDeepLabMaps(PanopticMasks):
    """class_map, segment_map; then class logits and mask logits."""

    def raw(self, image: Tensor) -> tuple[Tensor, Tensor]:
        logits, mask_logits = self.module(self.pixels(image))
        return logits, mask_logits

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        logits, mask_logits = self.raw(image)
        best = logits.softmax(-1)[..., :-1].max(-1)  # (N, Q); no thing at all is no class
        sure = best.values >= LEAST_CLASS_SCORE
        large = F.interpolate(mask_logits, size=self.size_hw, mode="bilinear", align_corners=True)
        winner, pixel_sure = likeliest(large, sure)
        there = enough(winner, pixel_sure, best.indices, self.kinds - STUFF)
        numbers = segment_numbers(there, best.indices, self.kinds - STUFF)
        seen = pixel_sure & there.gather(1, winner.flatten(1)).reshape(winner.shape)
        return *painted(winner, seen, best.indices, numbers), logits, mask_logits

    def enliven(self) -> None:
        """The authors let the last scale of every branch begin at zero, and that of the masks at 0.1. Trained branches
        are small beside what they are added to, and slots have grown apart. Random ones prefer some places so much that
        attention chooses instead of weighing, and at 0.2 the 18 axial attentions made rounding so large that two
        correct graphs differed by chance. `python -m benchmarks.rounding max_deeplab_s` shows what is left of it.
        """
        with torch.no_grad():
            for layer in self.module.modules():
                if isinstance(layer, AxialAttention):
                    layer.similarity_norm.weight.fill_(0.5)
                elif isinstance(layer, Block | Attention | DualPath):
                    layer.last_norm.weight.fill_(0.1)
            self.module.masks.norm.weight.fill_(4.0)

    def finals(self) -> tuple[tuple[Final, ...], ...]:
        return ((Final(self.module.class_logits, 6.0, 0.0, ((self.kinds, 6.0),)),),)


def likeliest(mask_logits: Tensor, sure: Tensor) -> tuple[Tensor, Tensor]:
    """Of every pixel its slot (N, H, W), and whether that one is sure of its class and of the pixel.

    mask_logits (N, Q, H, W); sure (N, Q) bool. A pixel's probabilities are a softmax over the sure slots alone: that
    of the likeliest is 1 / Σ exp(logit - its logit), if it is one of them.
    """
    winner = mask_logits.argmax(1)
    above = mask_logits - mask_logits.amax(1, keepdim=True)
    rest = torch.einsum("nq,nqhw->nhw", sure.to(above.dtype), above.exp())
    chosen = sure.gather(1, winner.flatten(1)).reshape(winner.shape)
    return winner, chosen & (rest * LEAST_PIXEL_SCORE < 1)


def enough(winner: Tensor, pixel_sure: Tensor, classes: Tensor, first_stuff: int) -> Tensor:
    """(N, Q) bool: the slots of which there is enough. Stuff counts together with all other slots of its class.

    winner, pixel_sure (N, H, W); classes (N, Q)
    """
    counted = pixel_sure.flatten(1).to(torch.float32)
    area = torch.zeros(classes.shape, dtype=counted.dtype).scatter_add(1, winner.flatten(1), counted)  # (N, Q) px
    same = (classes[:, :, None] == classes[:, None, :]).to(counted.dtype)
    of_class = torch.einsum("nqp,np->nq", same, area)
    stuff = classes >= first_stuff
    least = torch.where(stuff, LEAST_STUFF_PX, LEAST_THING_PX)
    return (area > 0) & (torch.where(stuff, of_class, area) >= least)
