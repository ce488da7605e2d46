"""What each library's own pipeline says of a picture: its own network, its own post-processing, no line of ours."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from numpy.typing import NDArray
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import batched_nms, clip_boxes_to_image

from export.architectures.mobiledet import SHAPES
from export.architectures.yolo import ANCHORS_V3
from export.catalogue.row import Row
from export.heads.coco import PANOPTIC_IDS, THING_IDS

Arrays = dict[str, NDArray[np.float64]]
_of: Any = transformers


def normalised(row: Row, pixels: NDArray[np.uint8]) -> Tensor:
    """(1, 3, H, W) float32."""
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (row.mean, row.std))
    return (x - mean) / std


def things(boxes: Tensor, scores: Tensor, classes: Tensor, **more: Tensor) -> Arrays:
    """boxes in 0..1; classes as the contract counts them. An empty slot at the end says that not all are taken."""
    arrays = {"boxes": boxes, "scores": scores, "classes": classes, **more}
    padded = {name: torch.cat([value, torch.zeros_like(value[:1])]) for name, value in arrays.items()}
    return {name: value.double().numpy() for name, value in padded.items()}


def coco_things(boxes: Tensor, scores: Tensor, labels: Tensor, **more: Tensor) -> Arrays:
    """The same from COCO's own ids. None may be one that COCO does not have."""
    index = {label: i for i, label in enumerate(THING_IDS)}
    classes = torch.tensor([index[int(label)] for label in labels], dtype=torch.int64)
    return things(boxes, scores, classes, **more)


def torchvision_detector(row: Row, module: Any, pixels: NDArray[np.uint8]) -> Arrays:
    height, width = row.resize.size_hw
    if module.transform.fixed_size is None:  # the picture is as large as the graph's already
        module.transform.min_size, module.transform.max_size = (min(height, width),), max(height, width)
    heard: list[Tensor] = []
    ear = (
        module.roi_heads.register_forward_hook(lambda *told: heard.append(told[-1][0][0]["masks"][:, 0]))
        if _has_masks(module)
        else None
    )
    (found,) = module([torch.from_numpy(pixels).permute(2, 0, 1).float() / 255])
    more: dict[str, Tensor] = {}
    if ear is not None:  # before they are pasted: random masks are speckles, of which a pasted one keeps little
        ear.remove()
        more = {"masks": heard[0]}
    size = torch.tensor([width, height, width, height])
    return coco_things(found["boxes"] / size, found["scores"], found["labels"], **more)


def _has_masks(module: Any) -> bool:
    return hasattr(module, "roi_heads") and module.roi_heads.has_mask()


def torchvision_segmenter(row: Row, module: Any, pixels: NDArray[np.uint8]) -> Arrays:
    return {"class_map": module(normalised(row, pixels))["out"].argmax(1)[0].double().numpy()}


def plain_segmenter(row: Row, module: Any, pixels: NDArray[np.uint8]) -> Arrays:
    return {"class_map": module(normalised(row, pixels)).argmax(1)[0].double().numpy()}


def edges(row: Row, module: Any, pixels: NDArray[np.uint8]) -> Arrays:
    return {"class_map": (module(normalised(row, pixels)).sigmoid()[0, 0] > 0.5).double().numpy()}


def detr(row: Row, module: Any, pixels: NDArray[np.uint8]) -> Arrays:
    out = module(normalised(row, pixels))
    (found,) = _of.DetrImageProcessor().post_process_object_detection(out, threshold=0.0)
    return coco_things(found["boxes"].clamp(0, 1), found["scores"], found["labels"])


def deformable_detr(row: Row, module: Any, pixels: NDArray[np.uint8]) -> Arrays:
    out = module(normalised(row, pixels))
    processor = _of.DeformableDetrImageProcessor()
    (found,) = processor.post_process_object_detection(out, threshold=0.0, top_k=100)
    return coco_things(found["boxes"].clamp(0, 1), found["scores"], found["labels"])


def segformer(row: Row, module: Any, pixels: NDArray[np.uint8]) -> Arrays:
    out = module.model(normalised(row, pixels))
    processor = _of.SegformerImageProcessor()
    (found,) = processor.post_process_semantic_segmentation(out, target_sizes=[row.resize.size_hw])
    return {"class_map": found.double().numpy()}


def _panoptic(processor: str, ids: tuple[int, ...]) -> Callable[[Row, Any, NDArray[np.uint8]], Arrays]:
    def run(row: Row, module: Any, pixels: NDArray[np.uint8]) -> Arrays:
        out = module(normalised(row, pixels))
        kind = getattr(_of, processor)()
        (found,) = kind.post_process_panoptic_segmentation(
            out, label_ids_to_fuse=set(), target_sizes=[row.resize.size_hw]
        )
        class_map = torch.full(row.resize.size_hw, 255)
        for segment in found["segments_info"]:
            class_map[found["segmentation"] == segment["id"]] = ids.index(segment["label_id"])
        return {"class_map": class_map.double().numpy(), "segments": found["segmentation"].double().numpy()}

    return run


def mask2former_semantic(row: Row, module: Any, pixels: NDArray[np.uint8]) -> Arrays:
    out = module(normalised(row, pixels))
    processor = _of.Mask2FormerImageProcessor()
    (found,) = processor.post_process_semantic_segmentation(out, target_sizes=[row.resize.size_hw])
    return {"class_map": found.double().numpy()}


def mask2former_instance(row: Row, module: Any, pixels: NDArray[np.uint8]) -> Arrays:
    """Its answer is masks of the frame, without boxes: the extent of each is its box."""
    out = module(normalised(row, pixels))
    processor = _of.Mask2FormerImageProcessor()
    (found,) = processor.post_process_instance_segmentation(out, threshold=0.0, return_binary_maps=True)
    info = found["segments_info"]
    frames = found["segmentation"].float()  # (K, 384, 384)
    boxes = torch.zeros(len(info), 4)
    for i, frame in enumerate(frames):
        rows, columns = frame.any(1).nonzero()[:, 0], frame.any(0).nonzero()[:, 0]
        if len(rows):
            boxes[i] = torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) / 384
    scores, classes = (torch.tensor([segment[key] for segment in info]) for key in ("score", "label_id"))
    return things(boxes, scores, classes, frames=frames)


def yolo_v3(row: Row, module: Any, pixels: NDArray[np.uint8]) -> Arrays:
    """No library has it: the paper's formulas once more, box by box."""
    height, width = row.resize.size_hw
    boxes, scores, classes = [], [], []
    for raw, (stride, anchors) in zip(module(normalised(row, pixels)), ANCHORS_V3.items(), strict=True):
        for a, (anchor_w, anchor_h) in enumerate(anchors):
            one = raw[0, a * (5 + row.classes) : (a + 1) * (5 + row.classes)]
            for j in range(one.shape[1]):
                for i in range(one.shape[2]):
                    tx, ty, tw, th, to = one[:5, j, i]
                    x, y = (tx.sigmoid() + i) * stride, (ty.sigmoid() + j) * stride
                    w, h = anchor_w * tw.exp(), anchor_h * th.exp()
                    box = torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
                    score = to.sigmoid() * one[5:, j, i].sigmoid()
                    boxes.append(box.expand(row.classes, 4))
                    scores.append(score)
                    classes.append(torch.arange(row.classes))
    every = torch.cat(boxes) / torch.tensor([width, height, width, height])
    sure, kind = torch.cat(scores), torch.cat(classes)
    best = sure.topk(1000).indices
    every, sure, kind = every[best].clamp(0, 1), sure[best], kind[best]
    kept = batched_nms(every, sure, kind, 0.45)[:100]
    return things(every[kept], sure[kept], kind[kept])


def mobiledet(row: Row, module: Any, pixels: NDArray[np.uint8]) -> Arrays:
    """No library has it: the authors' box coder once more, map by map and cell by cell."""
    x = normalised(row, pixels)
    logits, deltas = module(x)
    first, boxes = 0, []
    for one, shapes in zip(module.maps(x), SHAPES, strict=True):
        rows, columns = one.shape[-2:]
        for j in range(rows):
            for i in range(columns):
                for width, height in shapes:
                    tx, ty, tw, th = deltas[0, first]
                    x_unit, y_unit = (i + 0.5) / columns + tx / 10 * width, (j + 0.5) / rows + ty / 10 * height
                    w, h = width * (tw / 5).exp(), height * (th / 5).exp()
                    boxes.append(torch.stack([x_unit - w / 2, y_unit - h / 2, x_unit + w / 2, y_unit + h / 2]))
                    first += 1
    scores = logits[0, :, list(THING_IDS)].sigmoid()  # (P, 80)
    sure, place = scores.flatten().topk(2000)
    where, kind = torch.stack(boxes).clamp(0, 1)[place // len(THING_IDS)], place % len(THING_IDS)
    kept = batched_nms(where, sure, kind, 0.6)[:100]
    return things(where[kept], sure[kept], kind[kept])


def panoptic_fpn(row: Row, module: Any, pixels: NDArray[np.uint8]) -> Arrays:
    """torchvision's Mask R-CNN, then detectron2's way of joining it with the other branch, thing by thing."""
    height, width = row.resize.size_hw
    detector = module.detector
    detector.transform.min_size, detector.transform.max_size = (min(height, width),), max(height, width)
    heard: list[Tensor] = []
    ear = detector.roi_heads.register_forward_hook(lambda *told: heard.append(told[-1][0][0]["masks"]))
    (found,) = detector([torch.from_numpy(pixels).permute(2, 0, 1).float() / 255])
    ear.remove()
    class_map, segments = torch.full((height, width), 255), torch.zeros((height, width), dtype=torch.int64)
    for i in found["scores"].argsort(descending=True):
        if found["scores"][i] < 0.5:
            break
        mask = _pasted(heard[0][i], found["boxes"][i], height, width) >= 0.5
        if not mask.any() or (mask & (segments > 0)).sum() / mask.sum() > 0.5:
            continue
        mask &= segments == 0
        class_map[mask] = THING_IDS.index(int(found["labels"][i]))
        segments[mask] = int(segments.max()) + 1
    logits = module.semantic(detector.backbone(normalised(row, pixels)))
    stuff = F.interpolate(logits, size=(height, width), mode="bilinear", align_corners=False)[0].argmax(0)
    for kind in range(1, 54):
        mask = (stuff == kind) & (segments == 0)
        if mask.sum() >= 4096:
            class_map[mask], segments[mask] = 79 + kind, int(segments.max()) + 1
    return {"class_map": class_map.double().numpy(), "segments": segments.double().numpy()}


def _pasted(mask: Tensor, box: Tensor, height: int, width: int) -> Tensor:
    """(H, W). Source: detectron2, layers/mask_ops.py, _do_paste_mask. mask (1, 28, 28)."""
    left, top, right, bottom = box
    ys = (torch.arange(height) + 0.5 - top) / (bottom - top) * 2 - 1
    xs = (torch.arange(width) + 0.5 - left) / (right - left) * 2 - 1
    grid = torch.stack([xs.expand(height, -1), ys[:, None].expand(-1, width)], -1)
    return F.grid_sample(mask[None], grid[None], align_corners=False)[0, 0]


def max_deeplab(row: Row, module: Any, pixels: NDArray[np.uint8]) -> Arrays:
    """No library has it: the authors' prediction once more, class by class and slot by slot."""
    height, width = row.resize.size_hw
    logits, mask_logits = module(normalised(row, pixels))
    probabilities = logits[0].softmax(-1)[:, :-1]
    scores, classes = probabilities.max(-1).values, probabilities.argmax(-1)
    masks = F.interpolate(mask_logits, size=(height, width), mode="bilinear", align_corners=True)[0]
    of_sure = torch.where((scores >= 0.7)[:, None, None], masks, torch.full_like(masks, -99999.0))
    confident = (of_sure.softmax(0).amax(0) > 0.4) & (of_sure.amax(0) == masks.amax(0))
    slots = of_sure.argmax(0)
    class_map, segments = torch.full((height, width), 255), torch.zeros((height, width), dtype=torch.int64)
    for slot in range(len(scores)):
        mask = confident & (slots == slot) & (scores[slot] >= 0.7)
        if classes[slot] < 80 and mask.sum() >= 100:
            class_map[mask], segments[mask] = classes[slot], slot + 1
    for kind in range(80, row.classes):
        mask = confident & (classes[slots] == kind)
        if mask.sum() >= 1600:
            class_map[mask], segments[mask] = kind, len(scores) + kind
    return {"class_map": class_map.double().numpy(), "segments": segments.double().numpy()}


def tsp_fcos(row: Row, module: Any, pixels: NDArray[np.uint8]) -> Arrays:
    """No library has it: the authors' prediction once more, place by place of the likeliest 700."""
    height, width = row.resize.size_hw
    x = normalised(row, pixels)
    places = []  # level, x and y in px, positions
    for level, (stride, one) in enumerate(zip((8, 16, 32, 64, 128), module.backbone(x).values(), strict=True)):
        rows, columns = one.shape[-2:]
        for j in range(rows):
            for i in range(columns):
                angles = [(at / of * 2 * np.pi) for at, of in ((j + 1, rows), (i + 1, columns))]
                waves = [[a / 10000 ** (2 * (n // 2) / 256) for n in range(256)] for a in angles]
                position = [np.cos(w) if n % 2 else np.sin(w) for one in waves for n, w in enumerate(one)]
                places.append((level, i * stride + stride // 2, j * stride + stride // 2, position))
    local, features = module.local(x)
    best = local[0].max(-1).values.topk(min(700, len(places))).indices
    chosen = [places[i] for i in best]
    levels = torch.tensor([[p[0] for p in chosen]])
    positions = torch.tensor([[p[3] for p in chosen]], dtype=torch.float32)
    logits, reach = module.found(features[:, best], positions, levels)
    boxes = torch.stack(
        [
            torch.stack([x_px - s * r[0], y_px - s * r[1], x_px + s * r[2], y_px + s * r[3]])
            for (level, x_px, y_px, _), r in zip(chosen, reach[0], strict=True)
            for s in (8 * 2**level,)
        ]
    )
    boxes = (boxes / torch.tensor([width, height, width, height])).clamp(0, 1)
    sure, place = logits[0].sigmoid().sqrt().flatten().topk(1000)
    where, kind = boxes[place // row.classes], place % row.classes
    kept = batched_nms(where, sure, kind, 0.6)[:100]
    return things(where[kept], sure[kept], kind[kept])


def tsp_rcnn(row: Row, module: Any, pixels: NDArray[np.uint8]) -> Arrays:
    """torchvision's own proposals and RoIAlign, then the authors' prediction, number by number."""
    height, width = row.resize.size_hw
    x = normalised(row, pixels)
    maps = module.backbone(x)
    images = ImageList(x, [(height, width)])
    (proposals,), _ = module.rpn(images, {name: one for name, one in maps.items() if name != "0"})
    pooled = module.roi_heads.box_roi_pool(maps, [proposals], images.image_sizes)
    judged = module.roi_heads.judged
    unit = proposals / torch.tensor([width, height, width, height])
    rows = []
    for left, top, right, bottom in unit.tolist():
        numbers = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top, left, top, right, bottom)
        angles = [(2 * math.pi * value / 10000 ** (2 * (n // 2) / 64), n) for value in numbers for n in range(64)]
        rows.append([math.cos(a) if n % 2 else math.sin(a) for a, n in angles])
    positions = torch.tensor([rows], dtype=torch.float32)
    x = judged.norm(judged.project(pooled.flatten(1))[None] + judged.place(positions))
    for layer in judged.encoder:
        x = layer(x, positions)
    x = judged.last_norm(x)[0]
    scores = judged.logits(x).softmax(-1)[:, :-1]
    deltas = judged.box(x)
    boxes = BoxCoder((10.0, 10.0, 5.0, 5.0)).decode(deltas, [proposals])  # (R, 80, 4)
    boxes = clip_boxes_to_image(boxes, (height, width)) / torch.tensor([width, height, width, height])
    sure, place = scores.flatten().topk(min(3000, scores.numel()))
    where, kind = boxes.reshape(-1, 4)[place], place % row.classes
    kept = batched_nms(where, sure, kind, 0.7)[: module.roi_heads.detections_per_img]
    return things(where[kept], sure[kept], kind[kept])


PIPELINES: dict[str, Callable[[Row, Any, NDArray[np.uint8]], Arrays]] = {
    **dict.fromkeys(("ssd", "retinanet", "fcos", "faster_rcnn", "mask_rcnn"), torchvision_detector),
    "torchvision_semantic": torchvision_segmenter,
    "edges": edges,
    "queries": detr,
    "deformable_queries": deformable_detr,
    "detr_panoptic": _panoptic("DetrImageProcessor", PANOPTIC_IDS),
    "maskformer_panoptic": _panoptic("MaskFormerImageProcessor", tuple(range(133))),
    "mask2former_panoptic": _panoptic("Mask2FormerImageProcessor", tuple(range(133))),
    "oneformer_panoptic": _panoptic("OneFormerImageProcessor", tuple(range(133))),
    "mask2former_instance": mask2former_instance,
    "mask2former_semantic": mask2former_semantic,
    "yolo_v3": yolo_v3,
    "mobiledet": mobiledet,
    "max_deeplab": max_deeplab,
    "panoptic_fpn": panoptic_fpn,
    "tsp_fcos": tsp_fcos,
    "tsp_rcnn": tsp_rcnn,
}


def pipeline(row: Row) -> Callable[[Row, Any, NDArray[np.uint8]], Arrays] | None:
    """The library's own way of the row's head; None for a network that no library has."""
    if row.network.head == "semantic":
        return {"transformers": segformer, "smp": plain_segmenter}.get(row.network.library)
    return PIPELINES.get(row.network.head)
