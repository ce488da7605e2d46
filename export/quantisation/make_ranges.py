"""FP32 graph + a folder of pictures → the ranges, and what an INT8 graph made with them is worth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from export.quantisation.calibrate import calibrate
from export.quantisation.float_graph import FloatGraph
from export.quantisation.judge import measure
from export.quantisation.pictures import read_pictures
from export.quantisation.quantise import quantise
from export.quantisation.ranges import Measured, Ranges
from export.upstream import Upstream

_NOT_YET = Measured(pictures=0, agreeing=0, labelled=False, fp32_right=0, int8_right=0, by="")


def make_ranges(fp32: Path, graph: FloatGraph, weights_sha256: str, folder: Path, source: Upstream) -> Ranges:
    """Ranges from every third picture of the folder, judged on the others. Raises ExportError for a bad folder.

    graph   that of the file `fp32`
    """
    pictures = read_pictures(folder, source)
    ranges = Ranges(
        weights_sha256=weights_sha256,
        structure=graph.structure,
        pictures=f"every third of {pictures.count} pictures",
        by_tensor=calibrate(graph, pictures.calibrating.pixels),
        measured=_NOT_YET,
    )
    with TemporaryDirectory() as scratch:
        int8 = Path(scratch) / "int8.onnx"
        quantise(graph, ranges, int8)
        return replace(ranges, measured=measure(fp32, int8, pictures.judging))
