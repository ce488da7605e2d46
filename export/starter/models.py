"""The shipped heads as whole models that keep the graph contract."""

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor, nn

from export.heads.nms import keep_best
from export.starter.backbone import load_stages, normalise, run_stages
from export.starter.detect_head import Dense, DetectConfig, DetectHead
from export.starter.layers import fold_separables
from export.starter.mask_head import MASK_SIDE, MaskHead
from export.starter.places import HEADS
from export.starter.segment_head import SegmentConfig, SegmentHead

PERSON_LABELS = ["person"]
CANDIDATES = 300  # boxes that reach suppression
IOU_THRESHOLD = 0.6

DETECT, SEGMENT, INSTANCE = (
    "ssdlite_efficientnet_lite0",
    "unet_efficientnet_lite0",
    "masks_efficientnet_lite0",
)
PEOPLE_SIZES_HW = ((256, 256), (384, 384), (512, 512))
SCENE_SIZES_HW = ((192, 256), (384, 512), (480, 640))


class PeopleBoxes(nn.Module):
    """uint8 [N, H, W, 3] → boxes, scores, classes."""

    def __init__(self, head: DetectHead, size_hw: tuple[int, int], count: int) -> None:
        super().__init__()
        self.frozen = load_stages()[: head.first]
        self.head = head
        self.count = count
        self.register_buffer("scale", torch.tensor([size_hw[1], size_hw[0]] * 2, dtype=torch.float32))
        self.scale: Tensor

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """boxes (N, K, 4) float32 xyxy in 0..1, scores (N, K) float32 descending, classes (N, K) int32 of 0."""
        dense = self.head(run_stages(self.frozen, normalise(image)))
        boxes, scores = self.select(dense)
        return boxes / self.scale, scores, torch.zeros_like(scores, dtype=torch.int32)

    def select(self, dense: Dense) -> tuple[Tensor, Tensor]:
        """(boxes (N, K, 4) px clipped to the canvas, scores (N, K)); empty slots are all zeros."""
        best = dense.logits.topk(min(CANDIDATES, dense.logits.shape[1]), 1)
        boxes = torch.minimum(take(dense.boxes, best.indices).clamp(min=0), self.scale)
        scores = best.values.sigmoid()
        index, kept = keep_best(boxes, scores, torch.zeros_like(best.indices), 1, IOU_THRESHOLD, self.count)
        return take(boxes, index) * (kept > 0)[..., None], kept


class PeopleMasks(nn.Module):
    """uint8 [N, H, W, 3] → boxes, scores, classes, masks; the boxes are those of `PeopleBoxes`."""

    def __init__(self, boxes: PeopleBoxes, masks: MaskHead) -> None:
        super().__init__()
        self.boxes = boxes
        self.masks = masks

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The detector's outputs and masks (N, K, 28, 28) float32 in 0..1.

        A mask covers exactly its box: cell (i, j) is the share of the box from i/28 to (i+1)/28 of its height and
        from j/28 to (j+1)/28 of its width. To paste: resize to the box bilinearly (half-pixel centres, that is
        align_corners=False), threshold at 0.5. Slots with score 0 hold nothing of meaning.
        """
        maps = run_stages(self.boxes.frozen, normalise(image))
        dense = self.boxes.head(maps)
        boxes, scores = self.boxes.select(dense)
        rows = torch.arange(boxes.shape[0], device=boxes.device, dtype=boxes.dtype)
        rois = torch.cat([rows[:, None, None].expand(-1, boxes.shape[1], 1), boxes], -1).reshape(-1, 5)
        masks = self.masks(maps, rois).sigmoid()
        masks = masks.reshape(-1, boxes.shape[1], MASK_SIDE, MASK_SIDE)  # (N, K, 28, 28)
        return boxes / self.boxes.scale, scores, torch.zeros_like(scores, dtype=torch.int32), masks


class Scenes(nn.Module):
    """uint8 [N, H, W, 3] → class_map."""

    def __init__(self, head: SegmentHead) -> None:
        super().__init__()
        self.frozen = load_stages()[: head.first]
        self.head = head

    def forward(self, image: Tensor) -> Tensor:
        """class_map (N, H, W) uint8 in 0..10, at the input's size."""
        logits = self.head(run_stages(self.frozen, normalise(image)))
        logits = F.interpolate(logits, scale_factor=4, mode="bilinear", align_corners=False)
        return logits.argmax(1).to(torch.uint8)


def take(x: Tensor, index: Tensor) -> Tensor:
    """x (N, P, 4), index (N, K) → (N, K, 4)."""
    return x.gather(1, index[..., None].expand(-1, -1, x.shape[-1]))


def read_head(path: Path) -> tuple[dict[str, Tensor], dict[str, object]]:
    """(tensors as float32, the configuration kept in the file's metadata)."""
    with safe_open(path, framework="pt") as file:
        config = json.loads(file.metadata()["config"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    return {n: t.float() if t.dtype == torch.float16 else t for n, t in tensors.items()}, config


def detect_module(size_hw: tuple[int, int] = (384, 384), count: int = 100, heads: Path = HEADS) -> PeopleBoxes:
    """The people detector for pictures of one size (multiples of 32), in eval mode. K = count."""
    tensors, config = read_head(heads / f"{DETECT}.safetensors")
    head = DetectHead(DetectConfig(**config))  # type: ignore[arg-type]
    head.load_state_dict(tensors)
    fold_separables(head.eval())
    return PeopleBoxes(head, size_hw, count).eval()


def segment_module(size_hw: tuple[int, int] = (384, 512), heads: Path = HEADS) -> Scenes:
    """The road scene segmenter in eval mode; the size (multiples of 32) is the input's."""
    tensors, config = read_head(heads / f"{SEGMENT}.safetensors")
    head = SegmentHead(SegmentConfig(**config))  # type: ignore[arg-type]
    head.load_state_dict(tensors)
    fold_separables(head.eval())
    return Scenes(head).eval()


def instance_module(size_hw: tuple[int, int] = (384, 384), count: int = 50, heads: Path = HEADS) -> PeopleMasks:
    """The detector with a mask for every box, in eval mode. K = count."""
    tensors, config = read_head(heads / f"{INSTANCE}.safetensors")
    masks = MaskHead(**config)  # type: ignore[arg-type]
    masks.load_state_dict(tensors)
    fold_separables(masks.eval())
    return PeopleMasks(detect_module(size_hw, count, heads), masks).eval()
