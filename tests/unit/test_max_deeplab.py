"""MaX-DeepLab: what makes it its paper's, and how its answer is made.

It goes through every gate, and is compared with its authors' way of prediction, in tests/parity.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from export.architectures.axial_resnet import HEADS, MOST_PLACES, AxialAttention, Block
from export.architectures.max_deeplab import DualPath, MaskHead, MaxDeepLab
from export.heads.max_deeplab import enough, likeliest
from export.heads.query_masks import painted, segment_numbers

# Trained numbers as the authors' own test counts them: model/encoder/axial_resnet_instances_test.py.
AUTHORS_ENCODER = 61_726_624
AUTHORS_BACKBONE = 41_343_424
NOTHING = 255


def trained(*modules: nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


@pytest.fixture(scope="module")
def on_meta() -> MaxDeepLab:
    with torch.device("meta"):
        return MaxDeepLab().eval()


def test_the_encoder_has_the_authors_number_of_parameters_to_the_last(on_meta: MaxDeepLab) -> None:
    network = on_meta
    # Their encoder ends with the two features of the memory: what comes after belongs to the heads.
    heads = trained(network.masks.embed_pixels, network.masks.embed_memory[2], network.masks.norm, network.class_logits)
    assert trained(network) - heads == AUTHORS_ENCODER


def test_the_backbone_that_is_trained_on_imagenet_has_too(on_meta: MaxDeepLab) -> None:
    network = on_meta
    assert trained(network.stem, network.stage2, network.stage3, network.stage4, network.stage5[:3]) == AUTHORS_BACKBONE


def test_a_picture_of_641_has_masks_of_161(on_meta: MaxDeepLab) -> None:
    with torch.device("meta"):
        classes, masks = on_meta(torch.zeros(2, 3, 641, 641))
    assert classes.shape == (2, 128, 134)
    assert masks.shape == (2, 128, 161, 161)


def test_before_training_every_slot_is_nine_tenths_sure_of_nothing() -> None:
    torch.manual_seed(0)
    network = MaxDeepLab(slots=4, width=8)
    probabilities = network.class_logits.bias.softmax(0)
    assert float(probabilities[-1].detach()) == pytest.approx(0.9)


def in_use(module: nn.Module) -> nn.Module:
    """The module with BatchNorm as if it had been trained."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            nn.init.normal_(layer.running_mean)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
            nn.init.uniform_(layer.weight, 0.5, 2.0)
            nn.init.normal_(layer.bias)
    return module.eval()


@pytest.mark.parametrize("columns", [True, False])
def test_attention_along_an_axis_is_that_of_the_paper(columns: bool) -> None:
    """Axial-DeepLab's formula, place by place, with the code's BatchNorm of every term."""
    torch.manual_seed(0)
    attention = in_use(AxialAttention(12, 16, 32, columns))
    x = torch.randn(2, 12, 5, 7)
    with torch.no_grad():
        ours = attention(x)
        for picture in range(2):
            for line in range(7 if columns else 5):
                one = x[picture, :, :, line] if columns else x[picture, :, line]  # (12, places)
                seen = ours[picture, :, :, line] if columns else ours[picture, :, line]
                assert torch.allclose(seen, along_a_line(attention, one), atol=1e-4)


def along_a_line(attention: nn.Module, x: Tensor) -> Tensor:
    """x (C, places) → (values, places)."""
    assert isinstance(attention, AxialAttention)
    keys, _, values = attention.depths
    places = x.shape[1]
    q, k, v = attention.qkv(x[None, :, None])[0, :, 0].split(attention.depths)  # (depth, places)
    similarity = torch.zeros(3, HEADS, places, places)
    for head in range(HEADS):
        some = slice(head * keys // HEADS, (head + 1) * keys // HEADS)
        for place in range(places):
            for other in range(places):
                apart = MOST_PLACES - 1 + other - place
                similarity[0, head, place, other] = q[some, place] @ k[some, other]
                similarity[1, head, place, other] = q[some, place] @ attention.q_positions[apart]
                similarity[2, head, place, other] = k[some, other] @ attention.k_positions[apart]
    normed = attention.similarity_norm(similarity.flatten(0, 1)[None])[0]
    weights = normed.reshape(similarity.shape).sum(0).softmax(-1)
    seen = torch.zeros(2, values, places)
    for head in range(HEADS):
        some = slice(head * values // HEADS, (head + 1) * values // HEADS)
        for place in range(places):
            for other in range(places):
                weight = weights[head, place, other]
                seen[0, some, place] += weight * v[some, other]
                seen[1, some, place] += weight * attention.v_positions[MOST_PLACES - 1 + other - place]
    out: Tensor = attention.seen_norm(seen.flatten(0, 1)[None])[0].reshape(seen.shape).sum(0)
    return out


def test_a_block_halves_the_map_where_it_is_told_to_and_is_not_activated() -> None:
    torch.manual_seed(0)
    block = in_use(Block(16, 8, stride=2))
    with torch.no_grad():
        out = block(torch.randn(1, 16, 33, 17))
    assert out.shape == (1, 32, 17, 9)
    assert float(out.min()) < 0


def test_memory_and_pixels_learn_of_each_other_and_slots_have_no_order() -> None:
    torch.manual_seed(0)
    dual_path = in_use(DualPath(32))
    pixels, memory = torch.randn(1, 32, 3, 5), torch.randn(1, 256, 6)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    with torch.no_grad():
        seen, remembered = dual_path(pixels, memory)
        same_seen, moved = dual_path(pixels, memory[..., order])
        _, of_others = dual_path(pixels.flip(1), memory)
        seen_of_others, _ = dual_path(pixels, memory.flip(1))
    assert torch.allclose(moved, remembered[..., order], atol=1e-3)
    assert torch.allclose(same_seen, seen, atol=1e-3)
    assert not torch.allclose(of_others, remembered, atol=1e-1)
    assert not torch.allclose(seen_of_others, seen, atol=1e-1)


def test_masks_do_not_depend_on_how_long_a_pixel_s_vector_is() -> None:
    torch.manual_seed(0)
    head = MaskHead(16).eval()
    last = head.embed_pixels[-2]
    assert isinstance(last, nn.Conv2d)
    pixels, memory = torch.randn(1, 16, 4, 6), torch.randn(1, 256, 5)
    with torch.no_grad():
        once = head(pixels, memory)
        last.weight.mul_(3)
        assert last.bias is not None
        last.bias.mul_(3)
        assert torch.allclose(head(pixels, memory), once, atol=1e-5)
    assert once.shape == (1, 5, 4, 6)


def test_a_pixel_goes_to_its_likeliest_slot_if_that_is_sure_and_sure_of_it() -> None:
    sure = torch.tensor([[True, True, False]])
    logits = torch.tensor(
        [
            [2.0, 0.0, -9.0],  # 0.88 of the two sure ones
            [0.0, 0.1, -9.0],  # 0.52
            [0.0, 0.0, 5.0],  # the likeliest is not sure of its class
            [3.0, 1.0, 2.9],  # unsure slots take no part in the softmax
        ]
    )
    winner, seen = likeliest(logits.T[None, :, None], sure)
    assert winner.tolist() == [[[0, 1, 2, 0]]]
    assert seen.tolist() == [[[True, True, False, True]]]
    many = torch.zeros(1, 3, 1, 1)
    assert likeliest(many, torch.ones(1, 3, dtype=torch.bool))[1].tolist() == [[[False]]]  # a third is not enough


def test_there_must_be_enough_of_a_thing_and_of_all_stuff_of_a_class() -> None:
    px = [99, 100, 800, 800, 1599, 500, 0]
    classes = torch.tensor([[3, 3, 90, 90, 100, 4, 5]])
    slots = torch.cat([torch.full((n,), slot) for slot, n in enumerate(px)])
    winner = torch.cat([slots, torch.full((4000 - len(slots),), 5)]).reshape(1, 40, 100)
    seen = (torch.arange(4000) < len(slots)).reshape(1, 40, 100)
    there = enough(winner, seen, classes, 80)
    assert there.tolist() == [[False, True, True, True, False, True, False]]
    numbers = segment_numbers(there, classes, 80)
    here = seen & there.gather(1, winner.flatten(1)).reshape(winner.shape)
    class_map, segment_map = (one.flatten() for one in painted(winner, here, classes, numbers))
    first = torch.tensor(px).cumsum(0) - torch.tensor(px)  # of each slot
    assert class_map[first[:6]].tolist() == [NOTHING, 3, 90, 90, NOTHING, 4]
    assert segment_map[first[:6]].tolist() == [0, 1, 2, 2, 0, 3]
    assert (int(class_map[-1]), int(segment_map[-1])) == (NOTHING, 0)  # of slot 5 as well, but not sure
