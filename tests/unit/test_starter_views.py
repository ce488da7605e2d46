"""Views, letterboxes and pasted masks keep pixels and labels together."""

import numpy as np
import pytest
import torch

from export.starter.evaluate import paste_mask
from export.starter.pictures import CROWD
from export.starter.placements import GREY, Recipe, boxes_of, draw_view, letterbox, paste_person

RECIPE = Recipe((96, 128), scale=(0.5, 1.6), stretch=0.2, colour=0.0, outside=0)


@pytest.mark.parametrize("seed", range(12))
def test_a_view_moves_labels_with_their_pixels(seed: int) -> None:
    image, people = np.zeros((80, 60, 3), np.uint8), np.zeros((80, 60), np.uint8)
    image[20:60, 10:30], people[20:60, 10:30] = 255, 1
    view, labels = draw_view(image, people, RECIPE, np.random.default_rng(seed))
    assert view.shape == (96, 128, 3)
    assert labels.shape == (96, 128)
    bright = view[..., 0] > 180  # the grey outside is darker
    disagree = (bright != (labels == 1)).sum()
    assert disagree <= 0.15 * max(1, (labels == 1).sum()) + 40  # a rim, blurred by resampling


def test_the_same_seed_draws_the_same_view() -> None:
    image = np.random.default_rng(0).integers(0, 255, (50, 70, 3)).astype(np.uint8)
    views = [draw_view(image, image[..., 0], RECIPE, np.random.default_rng(5)) for _ in range(2)]
    assert (views[0][0] == views[1][0]).all()
    assert (views[0][1] == views[1][1]).all()


def test_boxes_are_the_extents_of_what_is_visible() -> None:
    people = np.zeros((20, 30), np.uint8)
    people[2:7, 3:9], people[10:12, 20:30] = 1, CROWD
    numbers, boxes = boxes_of(people)
    assert numbers.tolist() == [1, CROWD]
    assert boxes.tolist() == [[3, 2, 9, 7], [20, 10, 30, 12]]


@pytest.mark.parametrize("seed", range(5))
def test_a_pasted_person_is_whole_and_has_a_number_of_its_own(seed: int) -> None:
    donor_people = np.zeros((40, 40), np.uint8)
    donor_people[5:15, 5:11] = 3
    donor = np.full((40, 40, 3), 200, np.uint8), donor_people
    scene_people = np.zeros((40, 40), np.uint8)
    scene_people[0:40, 0:4] = 1
    image, people = paste_person((np.zeros((40, 40, 3), np.uint8), scene_people), donor, np.random.default_rng(seed))
    assert (people == 2).sum() == 60
    assert (image[people == 2] == 200).all()
    assert (image[people != 2] == 0).all()


def test_a_letterbox_is_centred_and_tells_the_way_back() -> None:
    canvas, scale, (left, top) = letterbox(np.full((100, 200, 3), 255, np.uint8), (384, 384))
    assert (scale, left, top) == (1.92, 0, 96)
    assert (canvas[:96] == GREY).all()
    assert (canvas[96:288] == 255).all()
    assert (canvas[288:] == GREY).all()


def test_a_mask_is_pasted_into_its_box_and_cut_at_the_border() -> None:
    half = torch.zeros(28, 28)
    half[:14] = 1.0
    pasted = paste_mask(half, [10.0, 20.0, 30.0, 60.0], (100, 100))
    assert pasted[20:40, 10:30].all()
    assert pasted.sum() == 400
    assert paste_mask(torch.ones(28, 28), [-5.0, -5.0, 5.0, 5.0], (100, 100)).sum() == 25
