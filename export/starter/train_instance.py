"""Trains the mask head on the people's masks; the detector only says how good the two are together."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import roi_align

from export.starter.detect_head import DetectHead
from export.starter.evaluate import mask_quality
from export.starter.fit import Schedule, fit, seed_everything
from export.starter.mask_head import MAPS, MASK_SIDE, MaskHead
from export.starter.pictures import CROWD, penn_fudan
from export.starter.placements import boxes_of
from export.starter.train_detect import CANVAS, people_views

SMALLEST_PX = 16.0
PER_BATCH = 64  # boxes
JITTER = 0.08  # of the box's size: what a detector's box is off by


def train_instance(folder: Path, detector: DetectHead | None, width: int, schedule: Schedule) -> MaskHead:
    """The trained mask head; prints the held-out quality on the way."""
    seed_everything(schedule.seed)
    views = people_views(folder, MAPS)
    rng = np.random.default_rng(schedule.seed)
    people = [_people_of(labels) for labels in views.labels]
    useful = np.flatnonzero([len(numbers) > 0 for numbers, _ in people])
    head = MaskHead(width)
    _, held_out = penn_fudan(folder)

    def loss_of(rows: npt.NDArray[np.int64]) -> Tensor:
        maps, labels = views.take(useful[rows])
        rois, numbers = _draw_boxes([people[row] for row in useful[rows]], rng)
        mine = (torch.from_numpy(labels)[rois[:, 0].long()] == numbers[:, None, None]).float()  # (R, H, W)
        own = torch.cat([torch.arange(len(rois), dtype=torch.float32)[:, None], rois[:, 1:]], 1)
        target = roi_align(mine[:, None], own, MASK_SIDE, 1.0, sampling_ratio=2, aligned=True)[:, 0]
        logits = head(maps, rois)
        entropy = F.binary_cross_entropy_with_logits(logits, target)
        shown = logits.sigmoid()
        dice = 1 - (2 * (shown * target).sum((1, 2)) + 1) / ((shown + target).sum((1, 2)) + 1)
        cost: Tensor = entropy + dice.mean()
        return cost

    def report(epoch: int, average: MaskHead) -> None:
        if detector:
            print(f"  held out: {mask_quality(detector, average, held_out, CANVAS)}", flush=True)

    return fit(head, len(useful), loss_of, schedule, report)


def _people_of(labels: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    numbers, boxes = boxes_of(labels)
    big = (numbers != CROWD) & ((boxes[:, 2:] - boxes[:, :2]).min(1, initial=np.inf) >= SMALLEST_PX)
    return numbers[big], boxes[big]


def _draw_boxes(
    people: list[tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]], rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """(rois (R, 5) jittered, numbers (R,) uint8): at most PER_BATCH of a batch's people."""
    rows = np.concatenate([np.full(len(numbers), i) for i, (numbers, _) in enumerate(people)])
    numbers = np.concatenate([numbers for numbers, _ in people])
    boxes = np.concatenate([boxes for _, boxes in people])
    picked = rng.permutation(len(rows))[:PER_BATCH]
    boxes = boxes[picked]
    sizes = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    moved = boxes + sizes * rng.uniform(-JITTER, JITTER, boxes.shape)
    limits = np.array([CANVAS[1], CANVAS[0]] * 2)
    moved = np.clip(moved, 0, limits)
    rois = np.concatenate([rows[picked, None], moved], 1).astype(np.float32)
    return torch.from_numpy(rois), torch.from_numpy(numbers[picked])
