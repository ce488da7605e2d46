"""Weights that lie beside the graph instead of inside it: where, and how the card vouches for them.

1/model.onnx         the graph; below 2 GB everything
1/model.onnx.data    the weights, if they do not fit: protobuf, and so an ONNX file, ends at 2 GB
"""

from __future__ import annotations

from pathlib import Path

from service.entry_files import ONNX_FILE, file_sha256, onnx_path

DATA_FILE = f"{ONNX_FILE}.data"
# How the card says which weights belong to the graph, for its own sha256 covers the graph alone.
GATE = "external_data"

Results = tuple[tuple[str, str], ...]


def data_path(entry: Path) -> Path:
    return onnx_path(entry).with_name(DATA_FILE)


def external_data_result(entry: Path) -> Results:
    """What the card says of the weights beside the graph: nothing if there are none."""
    path = data_path(entry)
    return ((GATE, f"{DATA_FILE} sha256 {file_sha256(path)}"),) if path.is_file() else ()


def external_data_is_whole(entry: Path, verification: Results) -> bool:
    """Whether the entry has the weights beside its graph that its card tells of."""
    return dict(verification).get(GATE) == dict(external_data_result(entry)).get(GATE)


def entry_bytes(entry: Path) -> int:
    """Size of the graph and its weights."""
    return sum(path.stat().st_size for path in (onnx_path(entry), data_path(entry)) if path.is_file())
