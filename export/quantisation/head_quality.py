"""Heads on labelled pictures: those that calibrate, and how good an ONNX graph is on those that were held out.

The pictures are those that the heads were trained on and judged by (export.starter), and the scores come from the code
that measured what the cards say of FP32. What calibrates was trained on; what judges was neither.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from export.catalogue.row import Row
from export.profile import device
from export.quantisation.paired import one_thread_session
from export.quantisation.ranges import TaskQuality
from export.starter.evaluate import people_precision, scene_overlap
from export.starter.pictures import camvid, coco_people, penn_fudan
from export.starter.placements import letterbox
from service.manifest import INPUT_NAME, ResizeRule

# Of the pictures trained on; ranges hardly move after a few dozen.
EVERY_STREET, EVERY_COCO, EVERY_SCENE = 3, 5, 7


class OnnxModule(nn.Module):
    """An ONNX graph where export.starter.evaluate expects a torch module."""

    def __init__(self, onnx_file: Path) -> None:
        super().__init__()
        self._session = one_thread_session(onnx_file)
        self._names = [output.name for output in self._session.get_outputs()]

    def forward(self, image: Tensor) -> tuple[Tensor, ...] | Tensor:
        """Its outputs in their order; the output itself if it is the only one."""
        arrays = self._session.run(self._names, {INPUT_NAME: image.numpy()})
        tensors = tuple(torch.from_numpy(array) for array in arrays)
        return tensors if len(tensors) > 1 else tensors[0]


def calibration_pixels(row: Row, data: Path) -> tuple[NDArray[np.uint8], str]:
    """(N, H, W, 3) as the row's rule places them, and what they are, in words."""
    if row.segment_kind == "semantic":
        frames = camvid(data, "train")[::EVERY_SCENE]
        return _placed([frame.image for frame in frames], row.resize), f"{len(frames)} frames of CamVid's train part"
    streets, photographs = penn_fudan(data)[0][::EVERY_STREET], coco_people(data)[::EVERY_COCO]
    words = f"{len(streets)} pictures of Penn-Fudan's trained part and {len(photographs)} of coco128"
    return _placed([picture.image for picture in (*streets, *photographs)], row.resize), words


def measured_on(row: Row, fp32: Path, int8: Path, data: Path) -> TaskQuality:
    """Both graphs on the held-out pictures. data: folder with pennfudan/, coco128/ and camvid/."""
    before, after = (head_scores(row, file, data) for file in (fp32, int8))
    scores = tuple((metric, round(before[metric], 2), round(after[metric], 2)) for metric in before)
    return TaskQuality(held_out(row, data), scores, device())


def head_scores(row: Row, onnx_file: Path, data: Path) -> dict[str, float]:
    """Metric → percent on the held-out pictures; the metric of the card first."""
    model = OnnxModule(onnx_file).eval()
    if row.segment_kind == "semantic":
        return {"mIoU": 100 * scene_overlap(model, camvid(data, "val"), row.resize.size_hw)[0]}
    boxes, masks = people_precision(model, penn_fudan(data)[1], row.resize.size_hw)
    by_box = {"AP50": 100 * boxes.ap50, "AP": 100 * boxes.ap}
    return by_box if row.task == "detect" else {"mask AP50": 100 * masks.ap50, "mask AP": 100 * masks.ap} | by_box


def held_out(row: Row, data: Path) -> str:
    """The pictures that judge, in words."""
    if row.segment_kind == "semantic":
        return f"the {len(camvid(data, 'val'))} frames of CamVid val"
    return f"the {len(penn_fudan(data)[1])} pictures of Penn-Fudan's held-out fifth"


def _placed(files: list[Path], rule: ResizeRule) -> NDArray[np.uint8]:
    pictures = (np.asarray(Image.open(file).convert("RGB")) for file in files)
    return np.stack([letterbox(picture, rule.size_hw)[0] for picture in pictures])
