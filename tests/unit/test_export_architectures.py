"""The hand-written classifiers: shapes, on torch's meta device, and what makes each of them its paper's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from export.architectures.alexnet import AlexNet2012
from export.architectures.densenet import DenseNetCifar
from export.architectures.fbnet import A, B
from export.architectures.highway import CARRY_BIAS, HighwayLayer
from export.architectures.igpt import COLOURS_PER_CHANNEL, SIZES, ImageGpt, grid_of_colours
from export.architectures.lenet5 import LeNet5
from export.architectures.shufflenet_v2_plus import ShuffleBlock
from export.architectures.squeezenet import SqueezeNetComplexBypass
from export.catalogue.registry import CATALOGUE
from export.catalogue.row import Row
from export.network import build

# transformers makes its attention mask on the CPU, whatever device is asked for: Image GPT has a test of its own.
CLASSIFIERS = {
    name: row
    for name, row in CATALOGUE.items()
    if row.task == "classify" and row.network.library == "own" and row.network.constructor != "igpt"
}


@pytest.mark.parametrize("row", CLASSIFIERS.values(), ids=CLASSIFIERS.keys())
def test_pictures_become_as_many_logits_as_there_are_classes(row: Row) -> None:
    with torch.device("meta"):
        network = build(row.network)
        logits = network(torch.zeros(2, 3, *row.resize.size_hw))
    assert logits.shape == (2, row.classes)


def test_alexnet_s_cards_meet_in_the_third_layer_only() -> None:
    with torch.device("meta"):
        groups = [layer.groups for layer in AlexNet2012().features if isinstance(layer, nn.Conv2d)]
    assert groups == [1, 2, 1, 2, 2]


def test_lenet_sees_grey() -> None:
    network = LeNet5().eval()
    grey = torch.rand(1, 1, 32, 32).expand(1, 3, 32, 32)
    tinted = grey + torch.tensor([0.1, -0.1, 0.0]).view(1, 3, 1, 1)
    assert torch.allclose(network(grey), network(tinted), atol=1e-5)


def test_a_highway_layer_starts_as_the_identity() -> None:
    layer = HighwayLayer(4)
    nn.init.zeros_(layer.gate.weight)
    x = torch.randn(1, 4, 6, 6)
    share = torch.sigmoid(torch.tensor(CARRY_BIAS))
    expected = x * (1 - share) + layer.transform(x).relu() * share
    assert torch.allclose(layer(x), expected, atol=1e-6)


@pytest.mark.parametrize(("depth", "growth", "bottleneck", "layers"), [(40, 12, False, 36), (100, 12, True, 48)])
def test_plain_densenet_keeps_its_maps_in_the_transitions(
    depth: int, growth: int, bottleneck: bool, layers: int
) -> None:
    with torch.device("meta"):
        network = DenseNetCifar(depth, growth, bottleneck)
    first = 2 * growth if bottleneck else 16
    assert network.head.in_features == first + layers * growth


def test_a_shuffle_block_passes_every_other_map_by() -> None:
    class Nothing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.zeros_like(x)

    block = ShuffleBlock(8, 8, 3, 1, stage=0)
    block.main = nn.Sequential(Nothing())
    x = torch.arange(8.0).view(1, 8, 1, 1)
    assert block(x).flatten().tolist() == [0, 2, 4, 6, 0, 0, 0, 0]


def test_complex_bypass_goes_around_every_fire_module() -> None:
    with torch.device("meta"):
        network = SqueezeNetComplexBypass()
    around = [type(layer.around).__name__ for layer in network.features if hasattr(layer, "around")]
    assert around == ["Conv2d", "Identity"] * 4


def test_fbnet_a_and_b_have_the_paper_s_22_layers() -> None:
    assert [sum(len(blocks) for _, _, blocks in stages) for stages in (A, B)] == [22, 22]


def test_no_8_bit_colour_is_as_near_to_two_of_the_grid() -> None:
    levels = (torch.arange(256) / 255 - 0.5) / 0.5
    distances = (levels[:, None] - grid_of_colours()[None, :COLOURS_PER_CHANNEL, 2]).abs().sort(1).values
    assert (distances[:, 1] - distances[:, 0]).min() > 1e-3


def test_image_gpt_reads_every_pixel_as_its_nearest_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIZES, "tiny", (1, 16, 2))
    network = ImageGpt("tiny", classes=7).eval()
    x = torch.rand(2, 3, 32, 32) * 2 - 1
    tokens = network.tokens(x)
    assert tokens.shape == (2, 1024)
    pixel = x[1, :, 3, 5]
    assert tokens[1, 3 * 32 + 5] == (network.clusters - pixel).pow(2).sum(1).argmin()
    assert network(x).shape == (2, 7)
