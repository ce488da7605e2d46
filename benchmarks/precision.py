"""`python -m benchmarks.precision`: the default models in INT8 beside their FP32 entries, turn by turn on one thread.

The two run alternately on the same picture, so that whatever else the machine does hits both; what counts is the median
of the ratios. Accuracy is measured where the labelled pictures are, on those that calibrated nothing.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.device import RESULTS, circumstances, device
from export.catalogue.registry import CALIBRATED_HEADS, CALIBRATED_NAMES, find
from export.quantisation.float_graph import float_graph
from export.quantisation.identity import fitting_ranges
from export.quantisation.judge import measure
from export.quantisation.paired import time_in_pairs
from export.quantisation.pictures import read_pictures
from export.quantisation.quantise import quantise
from export.quantisation.ranges import TaskQuality
from export.quantisation.variant import photographs
from export.upstream import upstream
from service.entry_config import read_entry
from service.entry_files import onnx_path

BATCHES = (1, 4)
SECONDS = 20.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, default=Path("../shared/data/imagenet"), help="images and labels.csv")
    parser.add_argument("--repository", type=Path, default=Path("model_repository"), help="where the FP32 entries are")
    parser.add_argument("--names", nargs="+", default=[*CALIBRATED_NAMES, *CALIBRATED_HEADS], help="left out: all")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for each model and batch")
    parser.add_argument("--write", type=Path, default=RESULTS / "precision.json")
    given = parser.parse_args()
    with TemporaryDirectory() as scratch:
        rows = [row(name, given, Path(scratch) / f"{name}.onnx") for name in given.names]
    given.write.parent.mkdir(parents=True, exist_ok=True)
    given.write.write_text(json.dumps({**circumstances(), "threads": 1, "rows": rows}, indent=2) + "\n")
    show(rows)


def row(name: str, given: argparse.Namespace, int8: Path) -> dict[str, Any]:
    """Times by batch, file sizes, and agreement and accuracy where there are pictures.

    The INT8 graph is made here, from the shipped ranges: published or refused, it is measured.
    """
    fp32 = onnx_path(given.repository / name)
    ranges, catalogue_row = fitting_ranges(read_entry(given.repository / name)), find(name)
    quantise(float_graph(fp32), ranges, int8)
    pixels = photographs(catalogue_row)
    timed = {str(batch): asdict(time_in_pairs(fp32, int8, pixels[:batch], given.seconds)) for batch in BATCHES}
    sizes = {"fp32_bytes": fp32.stat().st_size, "int8_bytes": int8.stat().st_size}
    found: dict[str, Any] = {"model": name, "by_batch": timed, **sizes}
    if isinstance(ranges.measured, TaskQuality):  # measured when the ranges were made: export.quantisation.heads
        found["scores"] = ranges.measured.scores
    elif given.pictures.is_dir():
        judging = read_pictures(given.pictures, upstream(catalogue_row)).judging
        found |= asdict(measure(fp32, int8, judging))
    return found


def show(rows: list[dict[str, Any]]) -> None:
    table = Table(title=f"FP32 → INT8, one thread, {device()}", box=None, padding=(0, 2, 0, 0))
    headings = ("model", "ms at 1", "×", "ms at 4", "×", "MB", "same top-1", "right")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "model" else "right")
    for found in rows:
        times = [
            part
            for batch in BATCHES
            for timed in [found["by_batch"][str(batch)]]
            for part in (f"{timed['first_ms']:.1f} → {timed['second_ms']:.1f}", f"{timed['ratio']:.2f}")
        ]
        quality = ("–", "–")
        if "pictures" in found:
            agreeing = f"{found['agreeing']} of {found['pictures']}"
            quality = (agreeing, f"{found['fp32_right']} → {found['int8_right']}" if found["labelled"] else "–")
        if "scores" in found:
            metric, fp32_percent, int8_percent = found["scores"][0]
            quality = ("–", f"{metric} {fp32_percent:g} → {int8_percent:g}")
        megabytes = f"{found['fp32_bytes'] / 1e6:.1f} → {found['int8_bytes'] / 1e6:.1f}"
        table.add_row(found["model"], *times, megabytes, *quality)
    Console().print(table)


if __name__ == "__main__":
    main()
