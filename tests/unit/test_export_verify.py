"""The checker itself: a good graph passes, and every kind of broken candidate is refused by the gate meant for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from export.errors import GateFailure
from export.reference import Reference, classify_reference
from export.upstream import Upstream
from export.verify import GATES, verify
from service.manifest import ResizeRule, TensorSpec

SIZE_PX, CHANNELS, CLASSES = 12, 4, 5
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
PROMISED = (TensorSpec("probabilities", "FP32", (CLASSES,)), TensorSpec("embedding", "FP32", (CHANNELS,)))

GOOD = f"""
<ir_version: 8, opset_import: ["" : 18]>
tiny (uint8[batch, {SIZE_PX}, {SIZE_PX}, 3] image)
  => (float[batch, {CLASSES}] probabilities, float[batch, {CHANNELS}] embedding) {{
    planes = Transpose<perm=[0, 3, 1, 2]>(image)
    numbers = Cast<to=1>(planes)
    scaled = Mul(numbers, scale)
    x = Add(scaled, shift)
    maps = Conv<kernel_shape=[3, 3], strides=[1, 2], pads=[1, 1, 1, 1]>(x, conv)
    active = Relu(maps)
    pooled = ReduceMean<keepdims=0>(active, height_and_width)
    embedding = Identity(pooled)
    logits = Gemm<transB=1>(embedding, weight, bias)
    probabilities = Softmax<axis=-1>(logits)
}}
"""


class Tiny(nn.Module):
    """What the graph above computes, as a library would write it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.conv = nn.Conv2d(3, CHANNELS, 3, (1, 2), 1, bias=False)
        self.fc = nn.Linear(CHANNELS, CLASSES)
        nn.init.normal_(self.fc.weight)

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.conv(x).relu().mean((2, 3))  # (N, CHANNELS)
        out: Tensor = self.fc(pooled)
        return out


@pytest.fixture(scope="module")
def module() -> nn.Module:
    return Tiny().eval()


@pytest.fixture(scope="module")
def reference(module: nn.Module) -> Reference:
    rng = np.random.default_rng(0)
    # Every picture has a colour and a gradient of its own, so that no two get the same answer.
    colour = rng.integers(0, 200, (7, 1, 1, 3)) + np.arange(SIZE_PX).reshape(1, -1, 1, 1) * 4
    pixels = (colour + rng.integers(0, 10, (7, SIZE_PX, SIZE_PX, 3))).astype(np.uint8)
    resize = ResizeRule("crop", (SIZE_PX, SIZE_PX), "bilinear", SIZE_PX)
    return classify_reference(module, "fc", Upstream(resize, MEAN, STD, cut=lambda picture: picture), pixels)


def candidate(folder: Path, module: nn.Module, text: str, mean: tuple[float, ...] = MEAN) -> Path:
    """The graph of `text` with the module's weights, as a file."""
    std_255 = np.array(STD) * 255
    state = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    tensors: dict[str, NDArray[np.generic]] = {
        "scale": (1 / std_255).astype(np.float32).reshape(1, 3, 1, 1),
        "shift": (-np.array(mean) * 255 / std_255).astype(np.float32).reshape(1, 3, 1, 1),
        "conv": state["conv.weight"],
        "weight": state["fc.weight"],
        "bias": state["fc.bias"],
        "height_and_width": np.array([2, 3]),
        "batch_axis": np.array([0]),
        "tenth": np.array([0.1], np.float32),
        "almost_one": np.array([1.0001], np.float32),
        "nothing": np.array([0.0], np.float32),
        "backwards": np.array([2, 1, 0]),
    }
    model = onnx.parser.parse_model(text)
    used = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(numpy_helper.from_array(a, name) for name, a in tensors.items() if name in used)
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


def refusals(file: Path, reference: Reference) -> dict[str, str]:
    with pytest.raises(GateFailure) as caught:
        verify(file, PROMISED, reference)
    return dict(caught.value.failures)


def replaced(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


def test_a_faithful_graph_passes_every_gate(tmp_path: Path, module: nn.Module, reference: Reference) -> None:
    results = verify(candidate(tmp_path, module, GOOD), PROMISED, reference)
    assert [gate for gate, _ in results] == [gate for gate, _ in GATES]
    assert dict(results)["top1"] == "7 of 7 pictures"


SWAPPED = (
    GOOD.replace("probabilities", "TEMPORARY").replace("embedding", "probabilities").replace("TEMPORARY", "embedding")
)

BROKEN = {
    "NaN": (
        "finite",
        replaced("Identity(pooled)", "Log(negative)").replace("embedding =", "negative = Neg(pooled)\n embedding ="),
    ),
    "swapped outputs": ("shapes", SWAPPED),
    "static batch": ("batch", GOOD.replace("batch,", "2,")),
    "transposed input": ("error", replaced("perm=[0, 3, 1, 2]", "perm=[0, 3, 2, 1]")),
    "BGR": (
        "error",
        replaced("Cast<to=1>(planes)", "Cast<to=1>(bgr)").replace(
            "numbers =", "bgr = Gather<axis=1>(planes, backwards)\n numbers ="
        ),
    ),
    "rows leak": (
        "independent_rows",
        replaced("Identity(pooled)", "Sub(pooled, part)").replace(
            "embedding =", "all = ReduceMean<keepdims=1>(pooled, batch_axis)\n part = Mul(all, tenth)\n embedding ="
        ),
    ),
    "constant": ("not_constant", replaced("Identity(pooled)", "Mul(pooled, nothing)")),
    "logits": ("error", replaced("Softmax<axis=-1>(logits)", "Identity(logits)")),
    "softmax over the batch": ("independent_rows", replaced("Softmax<axis=-1>", "Softmax<axis=0>")),
    "other names": ("names", GOOD.replace("probabilities", "scores")),
    "other input name": ("names", GOOD.replace("image", "input")),
    "float input": ("dtypes", replaced("uint8[batch", "float[batch")),
    "double output": (
        "dtypes",
        GOOD.replace("float[batch, 4] embedding", "double[batch, 4] embedding")
        .replace("Identity(pooled)", "Cast<to=11>(pooled)")
        .replace("Gemm<transB=1>(embedding", "Gemm<transB=1>(pooled"),
    ),
    "slightly off": (
        "error",
        replaced("Add(scaled, shift)", "Add(off, shift)").replace("x =", "off = Mul(scaled, almost_one)\n x ="),
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_candidate_is_refused(kind: str, tmp_path: Path, module: nn.Module, reference: Reference) -> None:
    gate, text = BROKEN[kind]
    file = candidate(tmp_path, module, text)
    assert gate in refusals(file, reference)


def test_the_wrong_mean_is_refused(tmp_path: Path, module: nn.Module, reference: Reference) -> None:
    file = candidate(tmp_path, module, GOOD, mean=(0.485, 0.456, 0.406))
    assert "error" in refusals(file, reference)


def test_other_weights_are_refused(tmp_path: Path, module: nn.Module, reference: Reference) -> None:
    other = Tiny()
    nn.init.normal_(other.fc.weight)
    assert {"error", "cosine", "top1"} <= set(refusals(candidate(tmp_path, other, GOOD), reference))


def test_where_float32_is_noisy_the_cosine_may_fall_as_far_but_no_further(
    tmp_path: Path, module: nn.Module, reference: Reference
) -> None:
    """A thousand random layers: torch's own float32 is percents away from its float64. Here noise stands for them."""

    def off_by(share: float) -> dict[str, NDArray[np.float64]]:
        rng = np.random.default_rng(1)
        return {
            name: truth + share * np.abs(truth).max() * rng.standard_normal(truth.shape)
            for name, truth in reference.float64.items()
        }

    file = candidate(tmp_path, module, GOOD)
    noisy_truth = replace(reference, float64=off_by(0.004))
    exact_torch = replace(noisy_truth, float32=noisy_truth.float64)
    assert {"error", "cosine"} <= set(refusals(file, exact_torch)), "nothing explains the difference"
    verify(file, PROMISED, noisy_truth)  # torch's own float32 is as far off
    assert "cosine" in refusals(file, replace(reference, float64=off_by(0.5))), "no noise explains another answer"


def test_a_network_that_decides_inside_may_be_off_by_one_decision_and_no_more(
    tmp_path: Path, module: nn.Module, reference: Reference
) -> None:
    off_by_little = candidate(tmp_path, module, BROKEN["slightly off"][1])
    assert "error" in refusals(off_by_little, reference)
    deciding = replace(reference, inner_step=2e-3)
    verify(off_by_little, PROMISED, deciding)
    assert "error" in refusals(candidate(tmp_path, module, BROKEN["transposed input"][1]), deciding)


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path, reference: Reference) -> None:
    (tmp_path / "model.onnx").write_bytes(b"nonsense")
    assert set(refusals(tmp_path / "model.onnx", reference)) == {"load"}


def test_all_failures_are_collected(tmp_path: Path, module: nn.Module, reference: Reference) -> None:
    text = BROKEN["static batch"][1].replace("perm=[0, 3, 1, 2]", "perm=[0, 3, 2, 1]")
    said = refusals(candidate(tmp_path, module, text), reference)
    assert {"batch", "shapes", "error"} <= set(said)
    assert "does not run at batch 7" in said["error"]


def test_tied_classes_may_change_places(tmp_path: Path, module: nn.Module, reference: Reference) -> None:
    tied = Tiny()
    with torch.no_grad():
        tied.fc.weight.zero_()
        tied.fc.bias.copy_(torch.tensor([1.0, 1.0 + 1e-7, 0, 0, 0]))
    resize = ResizeRule("crop", (SIZE_PX, SIZE_PX), "bilinear", SIZE_PX)
    source = Upstream(resize, MEAN, STD, cut=lambda picture: picture)
    truth = classify_reference(tied.eval(), "fc", source, reference.pixels)
    swapped = Tiny().eval()
    with torch.no_grad():
        swapped.fc.weight.zero_()
        swapped.fc.bias.copy_(torch.tensor([1.0 + 1e-7, 1.0, 0, 0, 0]))
    # The constant answer is refused, as it should be; the changed order is not what it is refused for.
    assert set(refusals(candidate(tmp_path, swapped, GOOD), truth)) == {"not_constant"}
