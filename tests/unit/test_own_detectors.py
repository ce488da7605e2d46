"""Detectors and segmenters that no library has: what makes each of them its paper's, and how its answer is made.

Each goes through every gate, and is compared with its authors' way of prediction, in tests/parity.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.architectures.mobiledet import SHAPES, MobileDet, MobileDetBlock, anchors
from export.architectures.panoptic_fpn import SemanticBranch
from export.architectures.tsp import EncoderLayer, places
from export.architectures.tsp_rcnn import Judged, ProposalHead, waves
from export.heads.panoptic_fpn import joined, pasted

NOTHING = 255


@pytest.mark.parametrize(
    ("backbone", "authors_millions"), [("cpu", 4.21), ("dsp", 7.16), ("edgetpu", 4.20), ("gpu", 13.11)]
)
def test_mobiledet_has_the_numbers_of_the_authors_configurations(backbone: str, authors_millions: float) -> None:
    with torch.device("meta"):
        network = MobileDet(backbone)
    trained = sum(p.numel() for p in network.parameters())
    statistics = sum(2 * layer.num_features for layer in network.modules() if isinstance(layer, nn.BatchNorm2d))
    assert round((trained + statistics) / 1e6, 2) == authors_millions


def test_mobiledet_sees_six_maps_and_2034_anchors() -> None:
    with torch.device("meta"):
        network = MobileDet("edgetpu").eval()
        maps = network.maps(torch.zeros(2, 3, 320, 320))
        logits, deltas = network(torch.zeros(2, 3, 320, 320))
    sizes = [(one.shape[-2], one.shape[-1]) for one in maps]
    assert sizes == [(side, side) for side in (20, 10, 5, 3, 2, 1)]
    assert logits.shape == (2, 2034, 91)
    assert deltas.shape == (2, 2034, 4)
    every = anchors(sizes)
    assert every.shape == (2034, 4)
    # The first cell of the finest map: its centre at half a cell, its first anchor a tenth of the picture.
    assert torch.allclose(every[0], torch.tensor([0.025 - 0.05, 0.025 - 0.05, 0.025 + 0.05, 0.025 + 0.05]), atol=1e-6)
    # The last map's only cell: sqrt(0.95 · 1.0) of the picture around its middle.
    side = (0.95 * 1.0) ** 0.5
    assert torch.allclose(every[-1], torch.tensor([0.5 - side / 2] * 2 + [0.5 + side / 2] * 2), atol=1e-6)
    assert [len(shapes) for shapes in SHAPES] == [3, 6, 6, 6, 6, 6]


def test_only_the_first_block_of_a_stage_adds_nothing() -> None:
    with torch.device("meta"):
        network = MobileDet("cpu")
    for stage in network.stages:
        assert isinstance(stage, nn.Sequential)
        adds = [block.adds for block in stage if isinstance(block, MobileDetBlock)]
        assert adds == [False, *[True] * (len(adds) - 1)]


def test_the_semantic_branch_brings_every_map_to_stride_4() -> None:
    maps = {str(i): torch.zeros(1, 256, 64 // 2**i, 64 // 2**i) for i in range(4)}
    assert SemanticBranch().eval()(maps).shape == (1, 54, 64, 64)


def test_masks_are_pasted_as_detectron2_samples_them() -> None:
    masks = torch.rand(1, 3, 28, 28)
    boxes = torch.tensor([[[3.2, 5.7, 40.1, 30.3], [0.0, 0.0, 64.0, 48.0], [20.5, 10.0, 21.5, 47.0]]])
    ours = pasted(masks, boxes, (48, 64))
    for mask, box, one in zip(masks[0], boxes[0], ours[0], strict=True):
        ys = (torch.arange(48) + 0.5 - box[1]) / (box[3] - box[1]) * 2 - 1
        xs = (torch.arange(64) + 0.5 - box[0]) / (box[2] - box[0]) * 2 - 1
        grid = torch.stack([xs.expand(48, -1), ys[:, None].expand(-1, 64)], -1)
        sampled = F.grid_sample(mask[None, None], grid[None], align_corners=False)[0, 0]
        assert torch.allclose(one, sampled, atol=1e-4)


def test_a_thing_takes_what_is_free_and_stuff_the_rest() -> None:
    masks = torch.zeros(1, 4, 100, 100, dtype=torch.bool)
    masks[0, 0, :20, :20] = True  # the surest
    masks[0, 1, :20, 5:20] = True  # all of it is taken
    masks[0, 2, 10:40, :20] = True  # a third is taken: it gets the other two
    masks[0, 3, 50:90, :20] = True  # not sure enough
    scores = torch.tensor([[0.9, 0.8, 0.7, 0.4]])
    classes = torch.tensor([[7, 8, 9, 10]])
    stuff = torch.zeros(1, 100, 100, dtype=torch.int64)
    stuff[0, :, 20:70] = 3  # 5,000 px
    stuff[0, :, 70:] = 5  # 3,000 px: too little
    class_map, segment_map = (one[0] for one in joined(masks, scores, classes, stuff))
    assert class_map.dtype == segment_map.dtype == torch.uint8
    assert values(class_map[:20, :20]) == {7}
    assert values(class_map[20:40, :20]) == {9}
    assert values(class_map[50:, :20]) == {NOTHING}
    assert values(class_map[:, 20:70]) == {80 + 2}
    assert values(class_map[:, 70:]) == {NOTHING}
    assert [int(segment_map[at]) for at in ((0, 0), (30, 0), (95, 0), (0, 30), (0, 80))] == [1, 2, 0, 3, 0]


def values(part: Tensor) -> set[int]:
    return {int(value) for value in part.flatten()}


def test_places_are_the_middles_of_their_cells() -> None:
    every = places([(4, 8), (2, 4), (1, 2), (1, 1), (1, 1)])
    assert every.positions.shape == (32 + 8 + 2 + 1 + 1, 512)
    assert every.centres_px[:2].tolist() == [[4, 4], [12, 4]]
    assert every.centres_px[33].tolist() == [24, 8]
    assert every.levels.tolist() == [0] * 32 + [1] * 8 + [2] * 2 + [3, 4]
    # Rows first: two places of one column differ in the first half alone.
    same_column = every.positions[0] == every.positions[8]
    assert same_column[256:].all()
    assert not same_column[:256].all()


def test_an_encoder_layer_does_not_care_for_the_order_of_places() -> None:
    layer = EncoderLayer().eval()
    x, positions = torch.randn(1, 9, 512), torch.randn(1, 9, 512)
    order = torch.randperm(9)
    assert torch.allclose(layer(x, positions)[:, order], layer(x[:, order], positions[:, order]), atol=1e-5)
    assert not torch.allclose(layer(x, positions), layer(x, positions.flip(1)), atol=1e-3)


def test_nobody_looks_at_a_proposal_that_is_none() -> None:
    torch.manual_seed(0)
    judged = Judged(classes=5, layers=2).eval()
    pooled, boxes = torch.randn(2, 6, 256, 7, 7), torch.rand(2, 6, 4).sort(-1).values
    there = torch.tensor([[True, True, True, True, False, False], [True] * 6])
    logits, deltas = judged(pooled, boxes, there)
    assert (logits.shape, deltas.shape) == ((2, 6, 6), (2, 6, 5, 4))
    alone, alone_deltas = judged(pooled[:1, :4], boxes[:1, :4], there[:1, :4])
    torch.testing.assert_close(logits[:1, :4], alone, rtol=0, atol=1e-5)
    torch.testing.assert_close(deltas[:1, :4], alone_deltas, rtol=0, atol=1e-5)
    everybody, _ = judged(pooled, boxes, torch.ones_like(there))
    assert not torch.allclose(logits[0, :4], everybody[0, :4], atol=1e-3)


def test_levels_share_their_convolutions_and_have_a_norm_each() -> None:
    head = ProposalHead().eval()
    shapes = [tuple(one.shape) for one in head([torch.randn(1, 256, side, side) for side in (16, 8, 4, 2, 1)])[1]]
    assert shapes == [(1, 36, side, side) for side in (16, 8, 4, 2, 1)]
    kinds = [type(layer) for layer in head.modules()]
    assert (kinds.count(nn.Conv2d), kinds.count(nn.BatchNorm2d)) == (2 * (2 + 1), 2 * 2 * 5)


def test_where_a_proposal_is_tells_every_side_of_it_apart() -> None:
    boxes = torch.tensor([[[0.1, 0.2, 0.5, 0.6], [0.1, 0.2, 0.5, 0.7]]])
    first, second = waves(boxes)[0]
    assert first.shape == (512,)
    same = (first == second).reshape(8, 64).all(1).tolist()
    # centre x, y, width, height, left, top, right, bottom: the bottom, and with it centre and height, differ
    assert same == [True, False, True, False, True, True, True, False]
