"""A row through every gate and nothing more: no profile, no entry. What `vision-export --all --discard` does."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from export.catalogue.row import Row
from export.export_row import make_graph
from export.external_data import entry_bytes
from export.profile import count_flops, device
from export.run_table import error_of
from export.sources import Source
from export.weights import load
from service.entry_files import onnx_path


@dataclass(frozen=True, slots=True)
class Proof:
    """What is known of a graph that has passed; `error` is what that gate said."""

    weights: str
    params: int
    flops: int
    onnx_bytes: int
    gates: int
    device: str
    error: str


def prove(row: Row, sources: tuple[Source, ...]) -> Proof:
    """The proof of a row. Raises ExportError. The graph is written to a temporary folder, for that is what is
    judged, and gone afterwards."""
    loaded = load(row, sources)
    with tempfile.TemporaryDirectory() as folder:
        entry = Path(folder)
        onnx_path(entry).parent.mkdir()
        graph = make_graph(row, loaded, entry, lambda step: None)
        return Proof(
            weights=loaded.weights.source,
            params=sum(parameter.numel() for parameter in loaded.module.parameters()),
            flops=count_flops(graph.module, row.resize.size_hw),
            onnx_bytes=entry_bytes(entry),
            gates=len(graph.results),
            device=device(),
            error=error_of(graph.results),
        )
