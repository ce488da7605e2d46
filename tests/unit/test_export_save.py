"""Weights beside the graph: named so that the entry can be moved, and vouched for by the card."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from export.catalogue.registry import find
from export.external_data import DATA_FILE, entry_bytes, external_data_result
from export.repository import up_to_date
from export.save import save
from export.sources import RandomWeights
from service.entry_config import read_entry, write_entry
from service.entry_files import file_sha256, onnx_path
from tests.unit.test_export_repository import card

TEXT = """
<ir_version: 8, opset_import: ["" : 18]>
doubled (float[n, 640] x) => (float[n, 640] y) { y = Mul(x, weights) }
"""


def model() -> ir.Model:
    proto = onnx.parser.parse_model(TEXT)
    weights = np.arange(640, dtype=np.float32)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weights, "weights"))
    return ir.from_proto(proto)


@pytest.fixture
def entry(tmp_path: Path) -> Path:
    folder = tmp_path / "made" / "mobilenet_v2"
    onnx_path(folder).parent.mkdir(parents=True)
    return folder


def run(folder: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    session = ort.InferenceSession(onnx_path(folder), providers=["CPUExecutionProvider"])
    out: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = session.run(None, {"x": np.ones((3, 640), np.float32)})[0]
    return out


def test_a_small_graph_is_one_file(entry: Path) -> None:
    save(model(), entry)
    assert [path.name for path in onnx_path(entry).parent.iterdir()] == ["model.onnx"]
    assert external_data_result(entry) == ()


def test_a_large_graph_s_weights_lie_beside_it_wherever_the_entry_goes(entry: Path, tmp_path: Path) -> None:
    save(model(), entry, most_bytes_inside=100)
    assert {path.name for path in onnx_path(entry).parent.iterdir()} == {"model.onnx", DATA_FILE}
    assert entry_bytes(entry) > onnx_path(entry).stat().st_size
    moved = tmp_path / "elsewhere" / "served"
    shutil.move(entry, moved)
    np.testing.assert_array_equal(run(moved), np.tile(np.arange(640, dtype=np.float32), (3, 1)))


def test_an_entry_with_other_weights_beside_its_graph_is_not_up_to_date(entry: Path) -> None:
    save(model(), entry, most_bytes_inside=100)
    row = find(entry.name)
    written = replace(
        card(row, onnx_path(entry), RandomWeights()),
        onnx_sha256=file_sha256(onnx_path(entry)),
        verification=external_data_result(entry),
    )
    write_entry(written, entry)
    assert up_to_date(entry.parent, row, (RandomWeights(),)) == read_entry(entry)
    data = onnx_path(entry).with_name(DATA_FILE)
    data.write_bytes(data.read_bytes()[:-4] + b"\0\0\0\0")
    assert up_to_date(entry.parent, row, (RandomWeights(),)) is None
    data.unlink()
    assert up_to_date(entry.parent, row, (RandomWeights(),)) is None
