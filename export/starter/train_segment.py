"""Trains the road scene segmenter on CamVid's 367 training frames."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from export.starter.evaluate import scene_quality
from export.starter.features import Views, cache_views
from export.starter.fit import Schedule, fit, seed_everything
from export.starter.pictures import VOID, Pixels, camvid
from export.starter.placements import Recipe, draw_view
from export.starter.segment_head import SegmentConfig, SegmentHead
from export.starter.segment_loss import class_weights, segmentation_loss

CANVAS = (288, 384)
# relative to the frame fitted into the canvas: 1.33 is the scale of 384×512
RECIPE = Recipe(CANVAS, scale=(0.8, 2.0), stretch=0.1, colour=0.3, outside=VOID)
VIEWS = 10


@dataclass(frozen=True)
class SegmentCost:
    """Weight of the Lovász loss beside cross-entropy, and label smoothing."""

    lovasz: float = 1.0
    smoothing: float = 0.0


def scene_views(folder: Path, levels: int) -> Views:
    """Views of the training frames: frames in turn, every view of its own seed."""
    frames = camvid(folder, "train")
    loaded = [(frame.read_image(), frame.read_classes()) for frame in frames]

    def draw(index: int, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
        return draw_view(*loaded[index % len(loaded)], RECIPE, rng)

    return cache_views("scenes", [repr(RECIPE), len(frames)], VIEWS * len(frames), CANVAS, levels, draw)


def train_segment(folder: Path, config: SegmentConfig, schedule: Schedule, cost: SegmentCost) -> SegmentHead:
    """The trained head; prints the quality on CamVid's val on the way."""
    seed_everything(schedule.seed)
    views = scene_views(folder, config.tail)
    weights = class_weights(torch.from_numpy(np.bincount(views.labels.ravel(), minlength=VOID + 1)[:VOID]))
    head = SegmentHead(config)
    val = camvid(folder, "val")

    def loss_of(rows: npt.NDArray[np.int64]) -> Tensor:
        maps, labels = views.take(rows)
        # judged at the logits' own stride: views are shifted at random, so thin things are seen all the same
        truth = torch.from_numpy(np.ascontiguousarray(labels[:, 2::4, 2::4])).long()
        return segmentation_loss(head(maps), truth, weights, cost.lovasz, cost.smoothing)

    def report(epoch: int, average: SegmentHead) -> None:
        miou, overlap = scene_quality(average, val, (384, 512))
        print(f"  val: mIoU {miou:.4f} {overlap.round(3).tolist()}", flush=True)

    return fit(head, len(views), loss_of, schedule, report)
