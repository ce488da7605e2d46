"""A user's own ONNX file: wrapped, verified against itself, and refused where it is not what it is said to be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnxruntime as ort
import pytest
from onnx import numpy_helper
from typer.testing import CliRunner, Result

from export.import_command import app
from service.entry_config import read_entry
from service.entry_files import onnx_path

NET = """
<ir_version: 8, opset_import: ["" : 17]>
own (float[batch, 3, 20, 24] image) => (float[batch, 4] probabilities) {
    maps = Conv<kernel_shape=[3, 3], strides=[2, 2]>(image, kernel)
    active = Relu(maps)
    pooled = GlobalAveragePool(active)
    flat = Flatten(pooled)
    probabilities = Gemm<transB=1>(flat, weight)
}
"""
MEAN, STD = ("0.4", "0.5", "0.6"), ("0.2", "0.25", "0.3")


def own_file(folder: Path, text: str = NET) -> Path:
    """A small network with names that collide with the contract's."""
    rng = np.random.default_rng(4)
    model = onnx.parser.parse_model(text)
    tensors = {"kernel": rng.normal(size=(6, 3, 3, 3)), "weight": rng.normal(size=(4, 6))}
    model.graph.initializer.extend(numpy_helper.from_array(a.astype(np.float32), n) for n, a in tensors.items())
    onnx.save(model, folder / "own_net.onnx")
    (folder / "labels.txt").write_text("ant\nbee\ncat\ndog\n")
    return folder / "own_net.onnx"


def imported(file: Path, *more: str) -> Result:
    words = ["--import", str(file), "--task", "classify", "--labels", str(file.parent / "labels.txt")]
    words += ["--size", "20", "24", "--mean", *MEAN, "--std", *STD, "--repository", str(file.parent / "repository")]
    return CliRunner().invoke(app, [*words, *more])


def test_an_own_file_becomes_an_entry(tmp_path: Path) -> None:
    result = imported(own_file(tmp_path))
    assert result.exit_code == 0, result.output
    entry = tmp_path / "repository" / "own_net"
    card = read_entry(entry)
    assert (card.task, card.label_set, card.label_names) == ("classify", "own", ("ant", "bee", "cat", "dog"))
    assert (card.weights.source, card.accuracy, card.params) == ("file", None, 6 * 27 + 4 * 6)
    assert {"error", "independent_rows", "batch", "finite", "top1"} <= dict(card.verification).keys()
    assert card.resize.size_hw == (20, 24)


def test_it_gives_the_softmax_of_what_the_file_gives(tmp_path: Path) -> None:
    file = own_file(tmp_path)
    imported(file, "--name", "renamed")
    pixels = np.random.default_rng(0).integers(0, 256, (3, 20, 24, 3), dtype=np.uint8)
    served = ort.InferenceSession(onnx_path(tmp_path / "repository" / "renamed"), providers=["CPUExecutionProvider"])
    (ours,) = served.run(None, {"image": pixels})
    mean, std = (np.array([float(v) for v in values]).reshape(3, 1, 1) for values in (MEAN, STD))
    x = ((pixels.transpose(0, 3, 1, 2) / 255 - mean) / std).astype(np.float32)
    (logits,) = ort.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, {"image": x})
    powers = np.exp(logits - logits.max(1, keepdims=True))
    np.testing.assert_allclose(ours, powers / powers.sum(1, keepdims=True), rtol=1e-4)


WITH_SOFTMAX = NET.replace("probabilities = Gemm<transB=1>(flat, weight)", "l = Gemm<transB=1>(flat, weight)").replace(
    "}\n", "    probabilities = Softmax<axis=1>(l)\n}\n"
)


def test_probabilities_are_not_squashed_twice(tmp_path: Path) -> None:
    file = own_file(tmp_path, WITH_SOFTMAX)
    refused = imported(file)
    assert refused.exit_code == 1
    assert "--output probabilities" in refused.output
    assert imported(file, "--output", "probabilities").exit_code == 0


REFUSED = {
    "static batch": (NET.replace("batch,", "1,"), "batch"),
    "two outputs": (NET.replace("probabilities)", "probabilities, float[batch, 6] flat)"), "2 outputs"),
    "old opset": (NET.replace('"" : 17', '"" : 11'), "opset 11"),
    "wrong size": (NET.replace("20, 24", "32, 32"), "does not run"),
    "NaN": (
        NET.replace("Relu(maps)", "Sqrt(negative)").replace("active =", "r = Abs(maps)\n negative = Neg(r)\n active ="),
        "finite",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_does_not_meet_the_contract_is_refused(kind: str, tmp_path: Path) -> None:
    text, said = REFUSED[kind]
    result = imported(own_file(tmp_path, text))
    assert result.exit_code == 1
    assert said in result.output
    assert not (tmp_path / "repository" / "own_net").exists()


def test_labels_must_be_as_many_as_the_classes(tmp_path: Path) -> None:
    file = own_file(tmp_path)
    (tmp_path / "labels.txt").write_text("ant\nbee\n")
    result = imported(file)
    assert result.exit_code == 1
    assert "gives 4 classes, the label file has 2" in result.output


def test_rubbish_is_a_sentence(tmp_path: Path) -> None:
    file = own_file(tmp_path)
    file.write_bytes(b"rubbish")
    result = imported(file)
    assert result.exit_code == 1
    assert "no valid ONNX file" in result.output


@pytest.mark.parametrize("name", ["resnet50", "resnet50_int8", "vgg16_fp16", "a/b", "../x"])
def test_names_of_the_catalogue_its_variants_and_paths_are_not_names(name: str, tmp_path: Path) -> None:
    result = imported(own_file(tmp_path), "--name", name)
    assert result.exit_code == 2
    assert "--name" in result.output
