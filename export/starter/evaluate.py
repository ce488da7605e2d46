"""Quality as the field measures it: COCO average precision, and mean intersection over union."""

import contextlib
import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor, nn

from export.starter.detect_head import DetectHead
from export.starter.mask_head import MaskHead
from export.starter.models import PeopleBoxes, PeopleMasks, Scenes
from export.starter.pictures import VOID, PeoplePicture, Pixels, ScenePicture
from export.starter.placements import letterbox
from export.starter.segment_head import SegmentHead

SCORE_FLOOR = 0.01


@dataclass(frozen=True)
class Precision:
    """Average precision in 0..1: at IoU 0.5, at 0.75, mean over 0.5:0.95."""

    ap50: float
    ap75: float
    ap: float

    def __str__(self) -> str:
        return f"AP50 {self.ap50:.3f} AP75 {self.ap75:.3f} AP {self.ap:.3f}"


def box_quality(head: DetectHead, pictures: list[PeoplePicture], size_hw: tuple[int, int]) -> Precision:
    """Average precision of a detection head's boxes on labelled pictures."""
    return people_precision(PeopleBoxes(head, size_hw, 100).eval(), pictures, size_hw)[0]


def mask_quality(
    detector: DetectHead, head: MaskHead, pictures: list[PeoplePicture], size_hw: tuple[int, int]
) -> Precision:
    """Average precision of a detection head's boxes with a mask head's masks."""
    return people_precision(PeopleMasks(PeopleBoxes(detector, size_hw, 50), head).eval(), pictures, size_hw)[1]


def people_precision(
    model: nn.Module, pictures: list[PeoplePicture], size_hw: tuple[int, int]
) -> tuple[Precision, Precision]:
    """(box precision, mask precision) of a whole model; masks are 0 when it has none."""
    truths, boxes, masks = [], [], []
    sizes: dict[int, dict[str, int]] = {}
    for number, picture in enumerate(pictures, start=1):
        truths += _truths(picture, number)
        image = picture.read_image()
        sizes[number] = {"height": image.shape[0], "width": image.shape[1]}
        canvas, scale, offset = letterbox(image, size_hw)
        with torch.inference_mode():
            outputs = model(torch.from_numpy(canvas[None]))
        found = outputs[1][0] > SCORE_FLOOR
        scores = outputs[1][0][found].tolist()
        edges = outputs[0][0][found] * torch.tensor([size_hw[1], size_hw[0]] * 2)
        edges = (edges - torch.tensor(offset * 2)) / scale  # back to the picture's pixels
        for score, (left, top, right, bottom) in zip(scores, edges.tolist(), strict=True):
            place = {"image_id": number, "category_id": 1, "score": score}
            boxes.append(place | {"bbox": [left, top, right - left, bottom - top]})
        if len(outputs) > 3:
            for score, edge, mask in zip(scores, edges.tolist(), outputs[3][0][found], strict=True):
                pasted = np.asfortranarray(paste_mask(mask, edge, (image.shape[0], image.shape[1])))
                place = {"image_id": number, "category_id": 1, "score": score}
                masks.append(place | {"segmentation": rle.encode(pasted)})
    return _precision(sizes, truths, boxes, "bbox"), _precision(sizes, truths, masks, "segm")


def paste_mask(mask: Tensor, box: list[float], image_hw: tuple[int, int]) -> Pixels:
    """(H, W) uint8 of 0 and 1: the 28×28 mask resized to its box (xyxy px) and cut at 0.5."""
    left, top, right, bottom = (round(edge) for edge in box)
    size = (max(1, bottom - top), max(1, right - left))
    resized = F.interpolate(mask[None, None], size=size, mode="bilinear", align_corners=False)[0, 0] > 0.5
    canvas = np.zeros(image_hw, np.uint8)
    y, x = max(0, top), max(0, left)
    inside = resized[y - top : image_hw[0] - top, x - left : image_hw[1] - left].numpy()
    canvas[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
    return canvas


def _truths(picture: PeoplePicture, number: int) -> list[dict[str, object]]:
    people = picture.read_people()
    truths: list[dict[str, object]] = []
    for index in range(1, len(picture.people) + 1):
        encoded = rle.encode(np.asfortranarray((people == index).astype(np.uint8)))
        truths.append(
            {
                "image_id": number,
                "category_id": 1,
                "iscrowd": 0,
                "segmentation": encoded,
                "area": float(rle.area(encoded)),
                "bbox": rle.toBbox(encoded).tolist(),
            }
        )
    return truths


def _precision(
    sizes: dict[int, dict[str, int]], truths: list[dict[str, object]], found: list[dict[str, object]], kind: str
) -> Precision:
    if not found:
        return Precision(0.0, 0.0, 0.0)
    # every picture counts, also one with nobody in it; pycocotools wants the sizes for masks
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        labelled = COCO()
        labelled.dataset = {
            "info": {},
            "images": [{"id": number} | size for number, size in sizes.items()],
            "categories": [{"id": 1, "name": "person"}],
            "annotations": [t | {"id": i} for i, t in enumerate(truths, start=1)],
        }
        labelled.createIndex()
        evaluation = COCOeval(labelled, labelled.loadRes(found), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    ap, ap50, ap75 = (float(value) for value in evaluation.stats[:3])
    return Precision(ap50, ap75, ap)


def scene_quality(
    head: SegmentHead, pictures: list[ScenePicture], size_hw: tuple[int, int]
) -> tuple[float, npt.NDArray[np.float64]]:
    """(mIoU, IoU per class (11,)) at the pictures' own size, void ignored."""
    return scene_overlap(Scenes(head).eval(), pictures, size_hw)


def scene_overlap(
    model: nn.Module, pictures: list[ScenePicture], size_hw: tuple[int, int]
) -> tuple[float, npt.NDArray[np.float64]]:
    """(mIoU, IoU per class (11,)) of a whole model: class maps go back to the picture's size by nearest neighbour."""
    confusion = np.zeros((VOID, VOID), np.int64)
    for picture in pictures:
        image = Image.fromarray(picture.read_image())
        resized = np.array(image.resize((size_hw[1], size_hw[0]), Image.Resampling.BILINEAR))
        with torch.inference_mode():
            class_map = model(torch.from_numpy(resized[None]))[0].numpy()
        predicted = np.asarray(Image.fromarray(class_map).resize(image.size, Image.Resampling.NEAREST))
        truth = picture.read_classes()
        known = truth != VOID
        pairs = truth[known].astype(np.int64) * VOID + predicted[known]
        confusion += np.bincount(pairs, minlength=VOID * VOID).reshape(VOID, VOID)
    hits = np.diag(confusion)
    overlap = hits / np.maximum(1, confusion.sum(0) + confusion.sum(1) - hits)
    return float(overlap.mean()), overlap
