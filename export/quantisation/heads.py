"""`python -m export.quantisation.heads`: makes the calibration ranges of the starter heads, and measures INT8."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.console import Console

from export.catalogue.registry import CALIBRATED_HEADS, find
from export.catalogue.row import Row
from export.quantisation.calibrate import calibrate
from export.quantisation.float_graph import float_graph
from export.quantisation.head_quality import calibration_pixels, measured_on
from export.quantisation.quantise import quantise
from export.quantisation.ranges import Ranges, TaskQuality, shipped_file, write_ranges
from export.starter.places import pictures_folder
from service.entry_config import read_entry
from service.entry_files import onnx_path


def head_ranges(row: Row, fp32: Path, weights_sha256: str, data: Path) -> Ranges:
    """Ranges from pictures that the head was trained on, and what INT8 made with them scores on those held out.

    fp32    the FP32 entry's graph
    data    folder with pennfudan/, coco128/ and camvid/
    """
    graph = float_graph(fp32)
    pixels, words = calibration_pixels(row, data)
    not_yet = TaskQuality("", (), "")
    ranges = Ranges(weights_sha256, graph.structure, words, calibrate(graph, pixels), not_yet)
    with TemporaryDirectory() as scratch:
        int8 = Path(scratch) / "int8.onnx"
        quantise(graph, ranges, int8)
        return replace(ranges, measured=measured_on(row, fp32, int8, data))


def heads(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME…", help="Left out: all of them.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder with pennfudan/, coco128/, camvid/ (default: $VISION_DATA).")
    ] = None,
    repository: Annotated[Path, typer.Option(help="Where their FP32 entries are.")] = Path("model_repository"),
) -> None:
    """Measure activation ranges on trained pictures, judge INT8 on held-out ones, and write shipped/NAME.json."""
    try:
        folder = pictures_folder(data)
    except FileNotFoundError as err:
        raise typer.BadParameter(str(err)) from None
    for name in names or CALIBRATED_HEADS:
        entry = repository / name
        made = head_ranges(find(name), onnx_path(entry), read_entry(entry).weights.sha256, folder)
        write_ranges(made, shipped_file(name))
        assert isinstance(made.measured, TaskQuality)  # noqa: S101 - for the type checker
        said = ", ".join(f"{metric} {fp32:.2f} → {int8:.2f}" for metric, fp32, int8 in made.measured.scores)
        Console().print(f"{name}: {len(made.by_tensor)} ranges; {said}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    typer.run(heads)
