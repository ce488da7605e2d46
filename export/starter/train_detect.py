"""Trains the people detector on four fifths of Penn-Fudan and on coco128."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from export.starter.backbone import STRIDES
from export.starter.detect_head import DetectConfig, DetectHead, all_points
from export.starter.detect_loss import detection_loss, inside
from export.starter.evaluate import box_quality
from export.starter.features import Views, cache_views
from export.starter.fit import Schedule, fit, seed_everything
from export.starter.pictures import CROWD, PeoplePicture, Pixels, coco_people, penn_fudan
from export.starter.placements import Recipe, boxes_of, draw_view, paste_person

CANVAS = (384, 384)
RECIPE = Recipe(CANVAS, scale=(0.55, 1.5), stretch=0.15, colour=0.3, outside=0)
PENN_VIEWS, COCO_VIEWS = 20, 8
PASTE = 0.4  # the chance that a view gets a second view's person pasted in


def people_views(folder: Path, levels: int) -> Views:
    """Views of the training pictures with their first maps: pictures in turn, every view of its own seed."""
    penn, _ = penn_fudan(folder)
    coco = coco_people(folder)
    pictures = penn * PENN_VIEWS + coco * COCO_VIEWS
    loaded = {p.image: (p.read_image(), p.read_people()) for p in penn + coco}

    def view_of(picture: PeoplePicture, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
        return draw_view(*loaded[picture.image], RECIPE, rng)

    def draw(index: int, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
        view = view_of(pictures[index], rng)
        if rng.random() < PASTE:
            view = paste_person(view, view_of(penn[int(rng.integers(len(penn)))], rng), rng)
        return view

    key = [repr(RECIPE), PENN_VIEWS, COCO_VIEWS, PASTE, [str(p.image.name) for p in pictures]]
    # all four maps, whoever asks: the detector and the mask head share one cache
    return cache_views("people", key, len(pictures), CANVAS, len(STRIDES), draw).first(levels)


def box_tables(labels: Pixels, smallest_px: float = 6.0) -> tuple[Tensor, Tensor, list[npt.NDArray[np.float32]]]:
    """(truths (V, G, 4) px, valid (V, G) bool, crowd boxes of each view); slivers count as crowds."""
    truths, crowds = [], []
    for people in labels:
        numbers, boxes = boxes_of(people)
        sizes = (boxes[:, 2:] - boxes[:, :2]).min(1, initial=np.inf)
        wanted = (numbers != CROWD) & (sizes >= smallest_px)
        truths.append(boxes[wanted])
        crowds.append(boxes[~wanted])
    most = max(1, max(len(t) for t in truths))
    table, valid = np.zeros((len(labels), most, 4), np.float32), np.zeros((len(labels), most), bool)
    for row, boxes in enumerate(truths):
        table[row, : len(boxes)], valid[row, : len(boxes)] = boxes, True
    return torch.from_numpy(table), torch.from_numpy(valid), crowds


def crowd_points(points: Tensor, crowds: list[npt.NDArray[np.float32]]) -> Tensor:
    """(N, P) bool: points inside any crowd box of their view."""
    rows = [inside(points, torch.from_numpy(boxes)[None]).any(1)[0] for boxes in crowds]
    return torch.stack(rows)


def train_detect(folder: Path, config: DetectConfig, schedule: Schedule) -> DetectHead:
    """The trained head; prints the held-out quality on the way."""
    seed_everything(schedule.seed)
    views = people_views(folder, config.tail)
    truths, valid, crowds = box_tables(views.labels)
    points = all_points(CANVAS)
    head = DetectHead(config)
    _, held_out = penn_fudan(folder)

    def loss_of(rows: npt.NDArray[np.int64]) -> Tensor:
        maps, _ = views.take(rows)
        dense = head(maps)
        ignored = crowd_points(points, [crowds[row] for row in rows])
        most = max(1, int(valid[rows].sum(1).max()))
        score, box = detection_loss(
            dense.logits, dense.boxes, points, truths[rows][:, :most], valid[rows][:, :most], ignored
        )
        return score + box

    def report(epoch: int, average: DetectHead) -> None:
        print(f"  held out: {box_quality(average, held_out, CANVAS)}", flush=True)

    return fit(head, len(views), loss_of, schedule, report)
