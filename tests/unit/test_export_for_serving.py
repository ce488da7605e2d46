"""The silent trap: zeros that ONNX Runtime moves into a max pool. The gate sees it, the rewriting removes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from timm.layers.norm_act import GroupNormAct
from timm.layers.std_conv import StdConv2d
from torch import Tensor, nn

from export.calibration import without_zeros
from export.classifier import OUTPUTS, as_classifier
from export.errors import GateFailure
from export.for_serving import RowwiseGroupNorm, ZeroPaddedMaxPool, for_serving
from export.optimise import optimise
from export.reference import Reference, classify_reference
from export.to_onnx import to_onnx
from export.upstream import Upstream
from export.verify import verify
from service.manifest import ResizeRule, TensorSpec

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),
    pytest.mark.filterwarnings("ignore::FutureWarning:torch"),
]

SIZE_PX, MAPS, CLASSES = 16, 6, 5
HALF = (0.5, 0.5, 0.5)
PROMISED = (TensorSpec("probabilities", "FP32", (CLASSES,)), TensorSpec("embedding", "FP32", (MAPS,)))


class SmallBit(nn.Module):
    """The stem of BiT: a standardised convolution, zeros around it, an unpadded pool; and a head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        first = StdConv2d(3, MAPS, 3, padding=1, bias=True)
        # All activations are negative, so that the zeros around them are the largest number of every border window.
        nn.init.constant_(first.bias, -4.0)  # type: ignore[arg-type]
        self.stem = nn.Sequential(first, nn.ConstantPad2d(1, 0.0), nn.MaxPool2d(3, 2))
        self.fc = nn.Linear(MAPS, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc(self.stem(x).mean((2, 3)))
        return out


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return SmallBit().eval()


@pytest.fixture(scope="module")
def reference(network: nn.Module) -> Reference:
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 200, (7, 1, 1, 3))
    pixels = (colours + rng.integers(0, 50, (7, SIZE_PX, SIZE_PX, 3))).astype(np.uint8)
    resize = ResizeRule("crop", (SIZE_PX, SIZE_PX), "bilinear", SIZE_PX)
    return classify_reference(network, "fc", Upstream(resize, HALF, HALF, cut=lambda picture: picture), pixels)


def test_the_gate_refuses_bit_as_its_library_has_it(tmp_path: Path, network: nn.Module, reference: Reference) -> None:
    module = as_classifier(network, "fc", HALF, HALF)
    ir.save(optimise(to_onnx(module, (SIZE_PX, SIZE_PX), OUTPUTS)), tmp_path / "model.onnx")
    with pytest.raises(GateFailure, match="error"):
        verify(tmp_path / "model.onnx", PROMISED, reference)


def test_rewritten_it_passes(tmp_path: Path, network: nn.Module, reference: Reference) -> None:
    module = for_serving(as_classifier(network, "fc", HALF, HALF))
    ir.save(optimise(to_onnx(module, (SIZE_PX, SIZE_PX), OUTPUTS)), tmp_path / "model.onnx")
    assert dict(verify(tmp_path / "model.onnx", PROMISED, reference))["top1"] == "7 of 7 pictures"


def test_rewriting_changes_the_copy_and_computes_the_same(network: nn.Module) -> None:
    module = for_serving(as_classifier(network, "fc", HALF, HALF))
    kinds = [type(module.get_submodule(f"body.stem.{number}")) for number in range(3)]
    assert kinds == [nn.Conv2d, nn.Identity, ZeroPaddedMaxPool]
    assert isinstance(network.get_submodule("stem.0"), StdConv2d)
    pixels = torch.randint(0, 256, (2, SIZE_PX, SIZE_PX, 3), dtype=torch.uint8)
    probabilities, _ = module(pixels)
    expected = network((pixels.permute(0, 3, 1, 2) / 255 - 0.5) / 0.5).softmax(-1)
    assert torch.allclose(probabilities, expected, atol=1e-6)


@pytest.mark.parametrize("norm", [nn.GroupNorm(4, 12), GroupNormAct(12, 4)], ids=["GroupNorm", "with activation"])
def test_group_norm_in_short_sums_is_group_norm(norm: nn.GroupNorm) -> None:
    nn.init.uniform_(norm.weight, 0.5, 2)
    nn.init.uniform_(norm.bias, -1, 1)
    x = torch.randn(3, 12, 9, 7) * 2 + 5
    assert torch.allclose(RowwiseGroupNorm(norm)(x), norm(x), atol=1e-5)


def test_a_pad_before_another_pool_is_left_alone() -> None:
    odd = nn.Sequential(nn.ConstantPad2d(2, 0.0), nn.MaxPool2d(3, 2))
    for_serving(odd)
    assert isinstance(odd[0], nn.ConstantPad2d)


def test_what_a_library_starts_at_zero_takes_part_in_the_comparison() -> None:
    convolution, norm, head = nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4), nn.Linear(4, 2)
    before = convolution.weight.clone()
    nn.init.zeros_(norm.weight)
    nn.init.zeros_(head.weight)
    without_zeros(nn.Sequential(convolution, norm, nn.Flatten(), head))
    assert torch.equal(convolution.weight, before)
    assert norm.weight.tolist() == [1.0] * 4
    assert head.weight.count_nonzero() == 8
