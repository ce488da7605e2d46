"""The starter models under the contract; what they are, export.starter.models says."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.catalogue.row import Row
from export.heads.located import THINGS, LocatedGraph
from export.starter.backbone import normalise, run_stages
from export.starter.models import PeopleBoxes, PeopleMasks, Scenes


class StarterBoxes(LocatedGraph):
    """boxes, scores, classes; then the logits (N, P) and boxes (N, P, 4) of every point."""

    outputs = THINGS
    taps = ("logits", "points")

    def __init__(self, module: nn.Module, row: Row) -> None:
        super().__init__()
        self.model = cast("PeopleBoxes", module)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        dense = self.model.head(run_stages(self.model.frozen, _pixels(image, self)))
        boxes, scores = self.model.select(dense)
        return boxes / self.model.scale, scores, _nothing_but_people(scores), dense.logits, dense.boxes


class StarterMasks(LocatedGraph):
    """boxes, scores, classes, masks; then the logits and boxes of every point."""

    outputs = (*THINGS, "masks")
    taps = ("logits", "points")

    def __init__(self, module: nn.Module, row: Row) -> None:
        super().__init__()
        self.model = cast("PeopleMasks", module)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        detector = self.model.boxes
        maps = run_stages(detector.frozen, _pixels(image, self))
        dense = detector.head(maps)
        boxes, scores = detector.select(dense)
        rows = torch.arange(boxes.shape[0], dtype=boxes.dtype)
        rois = torch.cat([rows[:, None, None].expand(-1, boxes.shape[1], 1), boxes], -1).reshape(-1, 5)
        masks = self.model.masks(maps, rois).sigmoid()  # (N·K, 28, 28)
        masks = masks.reshape(-1, boxes.shape[1], *masks.shape[1:])  # (N, K, 28, 28)
        return boxes / detector.scale, scores, _nothing_but_people(scores), masks, dense.logits, dense.boxes


class StarterScenes(LocatedGraph):
    """class_map; then the logits (N, C, H / 4, W / 4)."""

    outputs = ("class_map",)
    taps = ("logits",)

    def __init__(self, module: nn.Module, row: Row) -> None:
        super().__init__()
        self.model = cast("Scenes", module)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        logits = self.model.head(run_stages(self.model.frozen, _pixels(image, self)))
        full = F.interpolate(logits, scale_factor=4, mode="bilinear", align_corners=False)
        return full.argmax(1).to(torch.uint8), logits


def _pixels(image: Tensor, module: nn.Module) -> Tensor:
    """As export.starter normalises them, in the module's own precision."""
    return normalise(image).to(next(module.parameters()).dtype)


def _nothing_but_people(scores: Tensor) -> Tensor:
    return torch.zeros_like(scores, dtype=torch.int32)
