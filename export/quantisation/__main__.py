"""`python -m export.quantisation`: makes the calibration ranges that ship with the project."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from export.catalogue.registry import CALIBRATED_NAMES, find
from export.quantisation.ranges import Measured, shipped_file, write_ranges
from service.entry_config import read_entry
from service.entry_files import onnx_path


def ranges(
    pictures: Annotated[
        Path, typer.Argument(help="Folder of pictures, with labels.csv where accuracy is to be known.")
    ],
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME…", help="Models; left out: the default ones.")
    ] = None,
    described: Annotated[str, typer.Option(help="What the pictures are, for whoever reads the file.")] = "pictures",
    repository: Annotated[Path, typer.Option(help="Where their FP32 entries are.")] = Path("model_repository"),
) -> None:
    """Measure activation ranges on every third picture, judge INT8 on the others, and write shipped/NAME.json."""
    from export.quantisation.float_graph import float_graph
    from export.quantisation.make_ranges import make_ranges
    from export.upstream import upstream

    for name in names or CALIBRATED_NAMES:
        entry = repository / name
        fp32, weights_sha256 = onnx_path(entry), read_entry(entry).weights.sha256
        made = make_ranges(fp32, float_graph(fp32), weights_sha256, pictures, upstream(find(name)))
        write_ranges(replace(made, pictures=f"{made.pictures}: {described}"), shipped_file(name))
        found = made.measured
        assert isinstance(found, Measured)  # noqa: S101 - for the type checker
        Console().print(
            f"{name}: {len(made.by_tensor)} ranges; on {found.pictures} other pictures the same top-1 "
            f"{found.agreement_percent:.1f} %, right {found.fp32_right} → {found.int8_right}",
            highlight=False,
            soft_wrap=True,
        )


if __name__ == "__main__":
    typer.run(ranges)
