"""Transformers that answer with one mask per query: DETR's panoptic head, MaskFormer, Mask2Former.

image ─▶ network ─▶ class logits (N, Q, C + 1) and mask logits (N, Q, h, w) ─▶ one map of classes, one of segments

What is done with them is transformers' own (`post_process_panoptic_segmentation`, `…_semantic_…`, `…_instance_…`, at
its default thresholds), with a batch axis in place of its loops; segments of one kind of stuff are one segment.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import roi_align

from export.catalogue.row import Row
from export.heads.coco import PANOPTIC_IDS, STUFF, THINGS
from export.heads.located import THINGS as THING_OUTPUTS
from export.heads.located import Final, OverPixels, silent, to_unit

# In Mask2Former and OneFormer a query looks at the places where its mask of the layer before is above 1/2. Of a million
# such places a few are so close that rounding decides, and one of them moved the logits of a network with random
# weights by 8e-4 of the largest. A wrong graph is off by hundredths at least.
ONE_PLACE = 2e-3
# The map's value where there is no segment.
NOTHING = 255
LEAST_SCORE = 0.5
MASK_THRESHOLD = 0.5
# A segment of which less than this is left uncovered by surer ones is not there.
LEAST_VISIBLE = 0.8
MASK_SIDE = 56


class QueryMasks(OverPixels):
    """What the kinds of map share: the network, and its masks at the size that its library compares them at."""

    taps = ("logits", "mask_logits")
    # Mask2Former's masks are brought to this size before anything else is done with them, whatever the input's.
    frame_hw: tuple[int, int] | None = None

    def raw(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits (N, Q, C + 1), the last for no thing at all, and mask logits (N, Q, h, w)."""
        out = self.module(self.pixels(image))
        return out.class_queries_logits, out.masks_queries_logits

    def framed(self, masks: Tensor) -> Tensor:
        return masks if self.frame_hw is None else _resized(masks, self.frame_hw)

    def finals(self) -> tuple[tuple[Final, ...], ...]:
        classes, embed, features = self.last_layers()
        width = classes.out_features
        # Few queries are sure of something, and their masks cover a small part of the picture each. A mask is the
        # product of its query's vector with every pixel's, both of them centred elsewhere than zero.
        sure = Final(classes, 4.0, 0.0, (*silent(self.unused()), (width - 1, 8.0)), True)
        return ((sure, Final(features, 1.0, 0.5)), (Final(embed, 0.15, -0.03, (), True),))

    def last_layers(self) -> tuple[nn.Linear, nn.Linear, nn.Conv2d]:
        """Of the classes, of the queries' mask vectors, of the pixels' vectors."""
        raise NotImplementedError

    def unused(self) -> tuple[int, ...]:
        return ()


class PanopticMasks(QueryMasks):
    """class_map, segment_map; then class logits and mask logits."""

    outputs = ("class_map", "segment_map")
    classes: Tensor

    def __init__(self, module: Any, row: Row) -> None:
        super().__init__(module, row)
        self.register_buffer("classes", self.table())

    def table(self) -> Tensor:
        """(C + 1,): the network's class → the map's, NOTHING for no thing at all."""
        return torch.tensor([*range(self.kinds), NOTHING])

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        logits, mask_logits = self.raw(image)
        masks = _resized(self.framed(mask_logits).sigmoid(), self.size_hw)
        class_map, segment_map = self.merge(logits, masks)
        return class_map, segment_map, logits, mask_logits

    def merge(self, logits: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """(class_map, segment_map), each (N, H, W) uint8. masks (N, Q, H, W) in 0..1.

        Source: transformers, image_processing_mask2former.py, compute_segments; like there, a mask is weighed by its
        score before its own extent is measured.
        """
        best = logits.softmax(-1).max(-1)
        scores, classes = best.values, self.classes[best.indices]  # (N, Q)
        kept = (classes != NOTHING) & (scores > LEAST_SCORE)
        masks = masks * torch.where(kept, scores, torch.zeros_like(scores))[..., None, None]
        winner = masks.argmax(1)  # (N, H, W)
        queries = torch.arange(logits.shape[1])
        won = (winner[:, None] == queries[:, None, None]).flatten(2).sum(-1).to(scores.dtype)  # (N, Q) px
        own = (masks >= MASK_THRESHOLD).flatten(2).sum(-1).to(scores.dtype)
        there = kept & (won > 0) & (own > 0) & (won > LEAST_VISIBLE * own)
        numbers = segment_numbers(there, classes, self.kinds - STUFF)
        return painted(winner, there.gather(1, winner.flatten(1)).reshape(winner.shape), classes, numbers)


class LeanMaskHead(nn.Module):
    """DETR's mask head, the same to the last weight: but what is a picture's and no query's is computed once for it.

    transformers repeats the backbone's features for each of 100 queries and then halves their channels: 4 GB a picture.
    """

    def __init__(self, head: Any) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor, attention_masks: Tensor, fpn_features: Sequence[Tensor]) -> Tensor:
        """(N · Q, 1, h, w). features (N, D, H, W), attention_masks (N, Q, heads, H, W), fpn_features (N, C, h, w)."""
        queries = attention_masks.shape[1]
        x = torch.cat([features.unsqueeze(1).expand(-1, queries, -1, -1, -1), attention_masks], 2).flatten(0, 1)
        x = self.head.conv2(self.head.conv1(x))
        for stage, level in zip(self.head.fpn_stages, fpn_features, strict=True):
            once = stage.fpn_adapter(level)
            x = F.interpolate(x, size=once.shape[-2:], mode="nearest")
            x = stage.refine((once.unsqueeze(1) + x.reshape(-1, queries, *x.shape[1:])).flatten(0, 1))
        logits: Tensor = self.head.output_conv(x)
        return logits


class DetrPanoptic(PanopticMasks):
    """DETR's mask head, whose classes are COCO's own category ids."""

    def __init__(self, module: Any, row: Row) -> None:
        super().__init__(module, row)
        if not isinstance(module.mask_head, LeanMaskHead):
            module.mask_head = LeanMaskHead(module.mask_head)

    def table(self) -> Tensor:
        table = torch.full((251,), NOTHING)
        table[list(PANOPTIC_IDS)] = torch.arange(THINGS + STUFF)
        return table

    def raw(self, image: Tensor) -> tuple[Tensor, Tensor]:
        out = self.module(self.pixels(image))
        return out.logits, out.pred_masks

    def enliven(self) -> None:
        """All that tells one query's mask from another's are its attention maps, of which each sums up to 1: among the
        features they would drown."""
        places = self.size_hw[0] * self.size_hw[1] // 32**2
        first = self.module.mask_head.head.conv1.conv
        with torch.no_grad():
            first.weight[:, self.module.config.d_model :].mul_(8 * places)

    def finals(self) -> tuple[tuple[Final, ...], ...]:
        never = silent(i for i in range(250) if i not in PANOPTIC_IDS)
        classes = Final(self.module.detr.class_labels_classifier, 4.0, 0.0, (*never, (250, 8.0)))
        return ((classes,), (Final(self.module.mask_head.head.output_conv, 2.5, -4.0),))


class MaskFormerPanoptic(PanopticMasks):
    def last_layers(self) -> tuple[nn.Linear, nn.Linear, nn.Conv2d]:
        module = self.module
        return (
            module.class_predictor,
            _last(module.mask_embedder),
            module.model.pixel_level_module.decoder.mask_projection,
        )


class OneFormerPanoptic(PanopticMasks):
    """OneFormer, told to be panoptic."""

    inner_step = ONE_PLACE

    def enliven(self) -> None:
        _keep_apart(self.module.model.model.transformer_module.decoder)

    def last_layers(self) -> tuple[nn.Linear, nn.Linear, nn.Conv2d]:
        network = self.module.model.model
        decoder = network.transformer_module.decoder
        return decoder.class_embed, _last(decoder.mask_embed), network.pixel_level_module.decoder.mask_projection


def _mask2former_layers(module: Any) -> tuple[nn.Linear, nn.Linear, nn.Conv2d]:
    embedder = module.model.transformer_module.decoder.mask_predictor.mask_embedder
    return module.class_predictor, _last(embedder), module.model.pixel_level_module.decoder.mask_projection


class Mask2FormerPanoptic(PanopticMasks):
    inner_step = ONE_PLACE
    frame_hw = (384, 384)

    def enliven(self) -> None:
        _keep_apart(self.module.model.transformer_module.decoder)

    def last_layers(self) -> tuple[nn.Linear, nn.Linear, nn.Conv2d]:
        return _mask2former_layers(self.module)


class Mask2FormerSemantic(QueryMasks):
    """class_map; then class logits and mask logits. Every pixel has a class: no query has to be sure."""

    inner_step = ONE_PLACE
    outputs = ("class_map",)
    frame_hw = (384, 384)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        logits, mask_logits = self.raw(image)
        classes = logits.softmax(-1)[..., :-1]
        maps = torch.einsum("bqc,bqhw->bchw", classes, self.framed(mask_logits).sigmoid())
        return _resized(maps, self.size_hw).argmax(1).to(torch.uint8), logits, mask_logits

    def last_layers(self) -> tuple[nn.Linear, nn.Linear, nn.Conv2d]:
        return _mask2former_layers(self.module)


class Mask2FormerInstance(QueryMasks):
    """boxes, scores, classes, masks (N, K, 56, 56) cut out of the frame; then class logits and mask logits."""

    inner_step = ONE_PLACE
    outputs = (*THING_OUTPUTS, "masks")
    frame_hw = (384, 384)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Source: transformers, image_processing_mask2former.py, post_process_instance_segmentation."""
        logits, mask_logits = self.raw(image)
        queries = logits.shape[1]
        best = logits.softmax(-1)[..., :-1].flatten(1).topk(queries, 1)
        query, classes = best.indices // self.kinds, best.indices % self.kinds  # (N, K)
        masks = self.framed(mask_logits)
        where = query[..., None, None].expand(-1, -1, *masks.shape[-2:])
        masks = masks.gather(1, where)  # (N, K, h, w) logits
        inside = (masks > 0).to(masks.dtype)
        extent = inside.flatten(2).sum(-1)
        sure = (masks.sigmoid() * inside).flatten(2).sum(-1) / (extent + 1e-6)
        scores = best.values * sure * (extent > 0)
        boxes = boxes_of(inside)  # (N, K, 4) px of the frame
        rows = torch.arange(boxes.shape[0] * queries, dtype=boxes.dtype)[:, None]
        flat = masks.reshape(-1, 1, *masks.shape[-2:])
        cut = roi_align(flat, torch.cat([rows, boxes.reshape(-1, 4)], -1), MASK_SIDE, 1.0, 2, aligned=True)
        cut = cut.sigmoid().reshape(-1, queries, MASK_SIDE, MASK_SIDE)
        unit = to_unit(boxes, (int(masks.shape[-2]), int(masks.shape[-1])))
        return unit, scores, classes.to(torch.int32), cut, logits, mask_logits

    def last_layers(self) -> tuple[nn.Linear, nn.Linear, nn.Conv2d]:
        return _mask2former_layers(self.module)


def boxes_of(inside: Tensor) -> Tensor:
    """(N, K, 4) xyxy px, edges of the outermost pixels; zeros where a mask is empty. inside (N, K, H, W) of 0 and 1."""
    edges = []
    for axis in (2, 3):  # seen from above: columns; from the side: rows
        line = inside.amax(axis)  # (N, K, W), then (N, K, H)
        length = line.shape[-1]
        at = torch.arange(length, dtype=line.dtype)
        first = torch.where(line > 0, at, torch.full_like(at, length)).amin(-1)
        last = (line * (at + 1)).amax(-1)
        edges.append((torch.minimum(first, last), last))
    (left, right), (top, bottom) = edges
    return torch.stack([left, top, right, bottom], -1)


def painted(winner: Tensor, seen: Tensor, classes: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """(class_map, segment_map), each (N, H, W) uint8.

    winner              (N, H, W): of every pixel its query
    seen                (N, H, W) bool: whether there is a segment
    classes, numbers    (N, Q): what is written where there is
    """
    flat = winner.flatten(1)  # (N, H · W)
    maps = [
        torch.where(seen, table.gather(1, flat).reshape(winner.shape), torch.full_like(winner, nothing))
        for table, nothing in ((classes, NOTHING), (numbers, 0))
    ]
    return maps[0].to(torch.uint8), maps[1].to(torch.uint8)


def segment_numbers(there: Tensor, classes: Tensor, first_stuff: int) -> Tensor:
    """(N, Q): 1, 2, … for each segment that is there in turn; stuff of one class has the number of its first."""
    order = torch.arange(there.shape[1])
    same = (classes[:, :, None] == classes[:, None, :]) & (classes >= first_stuff)[:, :, None] & there[:, None, :]
    repeats = (same & (order[None, :] < order[:, None])).any(-1)
    number = (there & ~repeats).to(torch.int64).cumsum(1)
    first = torch.where(same, order, torch.full_like(order, there.shape[1] - 1)).amin(-1)  # of the same stuff
    return torch.where(repeats, number.gather(1, first), number)


def _resized(x: Tensor, size_hw: tuple[int, int]) -> Tensor:
    if tuple(x.shape[-2:]) == size_hw:
        return x
    return F.interpolate(x, size=size_hw, mode="bilinear", align_corners=False)


def _keep_apart(decoder: nn.Module) -> None:
    """What attention adds to each query is nearly the same for all: of full size, it makes all of them alike."""
    with torch.no_grad():
        for name, layer in decoder.named_modules():
            if isinstance(layer, nn.Linear) and name.endswith("out_proj"):
                layer.weight.mul_(0.2)


def _last(module: nn.Module) -> nn.Linear:
    return [layer for layer in module.modules() if isinstance(layer, nn.Linear)][-1]
