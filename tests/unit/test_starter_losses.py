"""The losses reward what they should, on cases small enough to do by hand."""

import torch
import torch.nn.functional as F

from export.starter.detect_head import all_points
from export.starter.detect_loss import assign, detection_loss, pairwise_iou
from export.starter.pictures import VOID
from export.starter.segment_loss import class_weights, lovasz_softmax, segmentation_loss


def test_iou_of_a_half_overlap_is_a_third() -> None:
    boxes, truths = torch.tensor([[[0.0, 0, 2, 2]]]), torch.tensor([[[1.0, 0, 3, 2], [5, 5, 6, 6]]])
    assert torch.allclose(pairwise_iou(boxes, truths), torch.tensor([[[1 / 3], [0.0]]]))


def test_only_points_inside_a_real_person_are_asked_for_it() -> None:
    points = all_points((64, 64))
    truths = torch.tensor([[[8.0, 8.0, 40.0, 56.0], [0.0, 0.0, 64.0, 64.0]]])
    boxes = truths[:, :1].expand(1, len(points), 4)
    scores = torch.full((1, len(points)), 0.5)
    target, owner = assign(scores, boxes, points, truths, torch.tensor([[True, False]]))
    asked = target[0] > 0
    assert asked.any()
    assert torch.allclose(target[0][asked], torch.ones(int(asked.sum())))
    assert (owner[0][asked] == 0).all()
    assert (points[asked] > 8).all()
    assert (points[asked, 0] < 40).all()
    assert (points[asked, 1] < 56).all()


def test_a_right_answer_costs_less_than_a_wrong_one_and_crowds_cost_nothing() -> None:
    points = all_points((64, 64))
    truths, valid = torch.tensor([[[8.0, 8.0, 40.0, 56.0]]]), torch.tensor([[True]])
    nowhere = torch.zeros(1, len(points), dtype=torch.bool)
    boxes = truths.expand(1, len(points), 4).contiguous()
    target, _ = assign(torch.full((1, len(points)), 0.5), boxes, points, truths, valid)
    right = torch.where(target > 0, 8.0, -8.0)
    cost_right, box_right = detection_loss(right, boxes, points, truths, valid, nowhere)
    cost_wrong, box_wrong = detection_loss(-right, boxes + 6, points, truths, valid, nowhere)
    assert cost_right < 0.1 < cost_wrong
    assert box_right < 1e-4 < box_wrong
    alarm = torch.full((1, len(points)), 4.0)
    nobody = torch.zeros(1, 1, dtype=torch.bool)
    cost, _ = detection_loss(alarm, boxes, points, truths, nobody, ~nowhere)
    assert cost == 0


def test_lovasz_is_zero_for_the_truth_and_one_for_its_opposite() -> None:
    labels = torch.tensor([0, 0, 1, 1, 1])
    perfect = F.one_hot(labels, 2).float()
    assert lovasz_softmax(perfect, labels) == 0
    assert torch.isclose(lovasz_softmax(1 - perfect, labels), torch.tensor(1.0))


def test_void_pixels_cost_nothing() -> None:
    logits, labels = torch.randn(1, 3, 4, 4), torch.full((1, 4, 4), VOID)
    labels[0, 0, 0] = 2
    other = logits.clone()
    other[..., 1:, :] = 9.0
    weights = class_weights(torch.tensor([10, 20, 30]))
    assert torch.isclose(
        segmentation_loss(logits, labels, weights, 1.0, 0.0), segmentation_loss(other, labels, weights, 1.0, 0.0)
    )


def test_rare_classes_weigh_more_and_the_mean_pixel_weighs_one() -> None:
    pixels = torch.tensor([100, 300, 600])
    weights = class_weights(pixels)
    assert weights[0] > weights[1] > weights[2]
    assert torch.isclose((weights * pixels).sum() / pixels.sum(), torch.tensor(1.0))
