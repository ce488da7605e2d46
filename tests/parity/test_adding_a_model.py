"""docs/adding-a-model.md, executed: its row through the gates, its command on a file that fits it."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
import timm
from onnx import numpy_helper
from typer.testing import CliRunner

from export import import_command
from export.catalogue.row import HubWeights, Row
from export.export_row import export_row
from export.network import count_params
from export.sources import Choice, sources_of
from export.upstream import upstream
from service.entry_config import read_entry
from tests.doc_blocks import blocks_of
from tests.gateway_server import ROOT

PAGE = ROOT / "docs" / "adding-a-model.md"
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),
    pytest.mark.filterwarnings("ignore::FutureWarning:torch"),
]


def blocks(language: str) -> list[str]:
    return [block.text for block in blocks_of(PAGE) if block.language == language]


@pytest.fixture(scope="module")
def row() -> Row:
    names: dict[str, tuple[Row, ...]] = {}
    (python,) = blocks("python")
    exec(python, names)
    (row,) = names["ROWS"]
    return replace(row, params_millions=count_params(row) / 1e6)


def test_the_page_s_row_is_what_the_library_says(row: Row) -> None:
    published = upstream(row)
    assert (row.resize, row.mean, row.std) == (published.resize, published.mean, published.std)
    (source,) = row.weights
    assert isinstance(source, HubWeights)
    config = timm.get_pretrained_cfg(f"{row.network.constructor}.{source.tag}", allow_unregistered=False)
    assert config is not None
    assert config.license == source.licence.lower()


def test_the_page_s_row_passes_the_gates(row: Row, tmp_path: Path) -> None:
    export_row(row, sources_of(row, Choice("random")), tmp_path, lambda step: None)
    assert {"error", "batch", "top1"} <= dict(read_entry(tmp_path / row.name).verification).keys()


FLOWERS = """
<ir_version: 8, opset_import: ["" : 17]>
flowers (float[batch, 3, 64, 64] x) => (float[batch, 2] y) {
    maps = Conv<kernel_shape=[5, 5], strides=[4, 4]>(x, kernel)
    active = Relu(maps)
    pooled = GlobalAveragePool(active)
    flat = Flatten(pooled)
    y = Gemm<transB=1>(flat, weight)
}
"""


def test_the_page_s_command_imports_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    model = onnx.parser.parse_model(FLOWERS)
    tensors = {"kernel": rng.normal(size=(8, 3, 5, 5)), "weight": rng.normal(size=(2, 8))}
    model.graph.initializer.extend(numpy_helper.from_array(a.astype(np.float32), n) for n, a in tensors.items())
    onnx.save(model, "flowers.onnx")
    Path("flowers.txt").write_text("daisy\nrose\n")
    (command,) = [line for block in blocks("sh") for line in block.splitlines() if "--import" in line]
    program, *words = shlex.split(command)
    assert program == "vision-export"
    result = CliRunner().invoke(import_command.app, words)
    assert result.exit_code == 0, result.output
    assert read_entry(tmp_path / "model_repository" / "flowers").label_names == ("daisy", "rose")


def test_the_page_s_other_commands_exist() -> None:
    (commands,) = [block for block in blocks("sh") if "tests.write_catalogue" in block]
    assert commands.splitlines()[0] == "python -m tests.write_catalogue"
    assert (ROOT / "tests" / "write_catalogue.py").is_file()
    assert (ROOT / commands.splitlines()[1].split()[-1]).is_file()
    assert commands.splitlines()[2].startswith("vision-export test_vit ")
