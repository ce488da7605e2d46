"""ONNX graph → files of an entry."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from export.external_data import DATA_FILE
from service.entry_files import onnx_path

# Below protobuf's limit of 2**31 bytes, with room for the nodes.
MOST_BYTES_INSIDE = 2_000_000_000


def save(model: ir.Model, entry: Path, most_bytes_inside: int = MOST_BYTES_INSIDE) -> None:
    """Writes the entry's ONNX file, and the file of its weights if they are more than `most_bytes_inside`."""
    weights_bytes = sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value)
    outside = DATA_FILE if weights_bytes > most_bytes_inside else None
    # The name is written into the graph as it is, relative to it: the entry can be moved and copied.
    ir.save(model, onnx_path(entry), external_data=outside)
