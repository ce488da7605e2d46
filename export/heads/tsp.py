"""TSP-FCOS's places as boxes, scores and classes.

image ─▶ pyramid ─▶ the 700 likeliest places ─▶ encoder ─▶ suppression within each class ─▶ K things

Source: Edward-Sun/TSP-Detection: fcos/my_fcos_outputs.py, predict_proposals; fcos/config.py and tsp_fcos.sh. As there,
suppression follows although the paper's set prediction would not need it, and a score is the root of a probability.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from export.architectures.tsp import STRIDES, places
from export.catalogue.row import Row
from export.heads.located import THINGS, Final, OverPixels, clip_px, take, to_unit
from export.heads.nms import keep_best

PROPOSALS = 700
# The authors let a thousand of each level through; the hundredth survivor is far above the last of so many.
CANDIDATES = 1000
IOU_THRESHOLD = 0.6
COUNT = 100


class TspFcosBoxes(OverPixels):
    """boxes, scores, classes; then of every place the class logits (N, P, 80) that choose it."""

    outputs = THINGS
    taps = ("local_logits",)
    centres: Tensor
    levels: Tensor
    positions: Tensor
    strides: Tensor

    def __init__(self, module: Any, row: Row) -> None:
        super().__init__(module, row)
        with torch.no_grad():
            maps = module.backbone(torch.zeros(1, 3, *self.size_hw)).values()
        every = places([(one.shape[-2], one.shape[-1]) for one in maps])
        self.register_buffer("centres", every.centres_px)
        self.register_buffer("levels", every.levels)
        self.register_buffer("positions", every.positions)
        self.register_buffer("strides", torch.tensor(STRIDES, dtype=torch.float32))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        local, features = self.module.local(self.pixels(image))
        best = local.amax(-1).topk(min(PROPOSALS, local.shape[1]), 1).indices  # (N, R)
        levels = self.levels[best]
        logits, reach = self.module.found(take(features, best), self.positions[best], levels)
        points = self.boxes(self.centres[best], reach * self.strides[levels][..., None])  # (N, R, 4)
        flat = logits.sigmoid().flatten(1)  # (N, R · 80)
        surest = flat.topk(min(CANDIDATES, flat.shape[1]), 1)
        classes, candidates = surest.indices % self.kinds, take(points, surest.indices // self.kinds)
        index, kept = keep_best(candidates, surest.values.sqrt(), classes, self.kinds, IOU_THRESHOLD, COUNT)
        boxes = to_unit(take(candidates, index), self.size_hw) * (kept > 0)[..., None]
        return boxes, kept, classes.gather(1, index).to(torch.int32), local

    def boxes(self, centres: Tensor, reach: Tensor) -> Tensor:
        """(N, R, 4) xyxy px, inside the picture."""
        return clip_px(torch.cat([centres - reach[..., :2], centres + reach[..., 2:]], -1), self.size_hw)

    def finals(self) -> tuple[tuple[Final, ...], ...]:
        found = (Final(self.module.logits, 1.5, -6.0), Final(self.module.box, 1.0, 2.0))
        return ((Final(self.module.local_logits, 1.5, -6.0),), found)
