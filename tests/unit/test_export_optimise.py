"""What optimisation leaves of a graph, and what the exporters make of awkward networks."""

from __future__ import annotations

import numpy as np
import onnx.parser
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn

from export.classifier import OUTPUTS, Classifier, as_classifier
from export.errors import GraphError
from export.optimise import foldable_batch_norms, optimise
from export.to_onnx import to_onnx

# The exporter's own innards use what its next version will not have.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),
    pytest.mark.filterwarnings("ignore::FutureWarning:torch"),
]

HALF = (0.5, 0.5, 0.5)


class Small(nn.Module):
    """Convolution, BatchNorm, a pool that BatchNorm cannot fold into, BatchNorm, head; zeros padded explicitly."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.conv = nn.Conv2d(3, 6, 3, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.late_norm = nn.BatchNorm2d(6)
        self.fc = nn.Linear(6, 4)
        for norm in (self.norm, self.late_norm):
            nn.init.uniform_(norm.running_mean, -1, 1)  # type: ignore[arg-type]
            nn.init.uniform_(norm.running_var, 0.5, 2)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(nn.functional.pad(x, (0, 1, 0, 1)))).relu()  # (N, 6, H-1, W-1)
        x = self.late_norm(nn.functional.max_pool2d(x, 2)).mean((2, 3))  # (N, 6)
        out: Tensor = self.fc(x)
        return out


class Moody(nn.Module):
    """Looks at the numbers to decide what to do, which graph capture refuses."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = x.mean((2, 3))
        out: Tensor = self.fc(x * 2 if x.sum() > 1e9 else x)
        return out


def run(
    model: ir.Model, pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    outputs: list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]] = session.run(list(OUTPUTS), {"image": pixels})
    return outputs


def compare(model: ir.Model, module: Classifier) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (3, 12, 10, 3), dtype=np.uint8)
    with torch.inference_mode():
        expected = [tensor.numpy() for tensor in module(torch.from_numpy(pixels))]
    for ours, theirs in zip(run(model, pixels), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_batch_norm_and_padding_go_into_the_convolution_and_nothing_else_changes() -> None:
    module = as_classifier(Small().eval(), "fc", HALF, HALF)
    model = optimise(to_onnx(module, (12, 10), OUTPUTS))
    kinds = [node.op_type for node in model.graph]
    # One is left: it follows a pool.
    assert kinds.count("BatchNormalization") == 1
    assert "Pad" not in kinds
    assert foldable_batch_norms(model) == []
    compare(model, module)


class Tower(nn.Module):
    """One convolution for two sizes, with a norm for each, as in a tower over the levels of a pyramid."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(4) for _ in range(2))
        for norm in self.norms:
            nn.init.uniform_(norm.running_mean)  # type: ignore[arg-type]
            nn.init.uniform_(norm.running_var, 0.5, 2.0)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        fine, coarse = (norm(self.convolution(y)).relu() for norm, y in zip(self.norms, (x, x[..., ::2]), strict=True))
        return torch.cat([fine.mean((2, 3)), coarse.mean((2, 3))], 1)


def test_a_convolution_that_serves_two_norms_takes_in_each_of_them() -> None:
    torch.manual_seed(0)
    module = Classifier(Tower(), nn.Linear(8, 4), HALF, HALF).eval()
    model = optimise(to_onnx(module, (12, 10), OUTPUTS))
    kinds = [node.op_type for node in model.graph]
    assert (kinds.count("Conv"), kinds.count("BatchNormalization")) == (2, 0)
    compare(model, module)


def test_no_weight_is_stored_twice_and_no_path_of_this_machine_at_all() -> None:
    module = as_classifier(Small().eval(), "fc", HALF, HALF)
    data = ir.to_proto(optimise(to_onnx(module, (12, 10), OUTPUTS))).SerializeToString()
    floats = sum(parameter.numel() for parameter in module.parameters())
    assert len(data) < 4 * floats + 6000
    assert b"/torch" not in data
    assert b".py" not in data


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
def test_the_older_exporter_takes_what_the_new_one_refuses() -> None:
    module = as_classifier(Moody().eval(), "fc", HALF, HALF)
    compare(optimise(to_onnx(module, (12, 10), OUTPUTS)), module)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_network_that_neither_takes_is_a_sentence() -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("out of order")

    module = Classifier(Broken(), nn.Linear(3, 4), HALF, HALF).eval()
    with pytest.raises(GraphError, match=r"neither exporter takes this network.*out of order"):
        to_onnx(module, (12, 10), OUTPUTS)


def test_a_batch_norm_that_should_have_been_folded_is_seen() -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 18]>
    g (float[n, 3, 4, 4] x, float[3, 3, 1, 1] w, float[3] s, float[3] b, float[3] m, float[3] v)
      => (float[n, 3, 4, 4] y) {
        c = Conv(x, w)
        y = BatchNormalization(c, s, b, m, v)
    }
    """
    model = ir.from_proto(onnx.parser.parse_model(text))
    assert len(foldable_batch_norms(model)) == 1
    # The weights are inputs here, so nothing can fold them: exactly the case that must not pass silently.
    with pytest.raises(GraphError, match="BatchNorm was not folded"):
        optimise(model)
