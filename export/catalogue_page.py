"""docs/catalogue.md: the table that a person picks a backbone from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby

from export.catalogue.row import HubWeights, PackageWeights, Row, StarterWeights
from export.catalogue.twins import TWINS
from export.run_table import Run, summary

_HEAD = """# The catalogue

Every model that `vision-export` can make, in the order of the history. Written by `python -m tests.write_catalogue`
from `export/catalogue/`; a test keeps it true. How to add one: [adding-a-model.md](adding-a-model.md).

- **M params**: counted on the network as served / what the paper says. A * has its reason below the table.
- **top-1 %**: of the first weights in the last column / what the paper reports for the architecture, quoted and not
  checked again.
- Detectors and segmenters have AP, mask AP, mIoU or PQ instead, of those weights at the authors' input size. Where the
  size here is a smaller one, the row in `export/catalogue/` says so, and less is to be expected.
- **G FLOPs, MB, gates, s**: from the last `vision-export --all` ([catalogue-run.md](catalogue-run.md)), random weights;
  a multiply-add counts as two. – is not run.
- **weights**: in the order in which they are tried. *none*: nobody publishes any for just this network;
  `--weights file:PATH` and `--weights random` remain.

Not here: MnasNet-A2, whose layers nobody has published. GoogLeNet and Inception v3 with their auxiliary classifiers are
the rows without: those are for training alone. OneFormer's other tasks: its row is told to be panoptic. ACT draws
its hashes anew for every picture and makes as many clusters as they give: two runs of it differ, and there is nothing
to compare a graph with. MaX-DeepLab-L: -S stands for the paper.

"""
_COLUMNS = """| model | input | M params | top-1 % | G FLOPs | MB | gates | s | weights |
|---|---|--:|--:|--:|--:|--:|--:|---|
"""


def page(every_row: Iterable[Row], runs: Mapping[str, Run]) -> str:
    """The whole page, as Markdown."""
    rows = tuple(every_row)
    parts = [_HEAD, summary(rows, runs), "\n"]
    for (family, paper, year), members in groupby(rows, key=lambda row: (row.family, row.paper, row.year)):
        parts += [f"\n## {family}, {year}\n\n{paper}\n\n", _family(tuple(members), runs)]
    return "".join(parts)


def _family(rows: tuple[Row, ...], runs: Mapping[str, Run]) -> str:
    lines = [_COLUMNS, *(f"{_line(row, runs.get(row.name))}\n" for row in rows)]
    notes = [f"\\* `{row.name}`: {row.params_note}.\n" for row in rows if row.params_note]
    notes += [
        f"`{row.name}` does not fit 16 GB ({TWINS[row.name][1]}): proved by `{TWINS[row.name][0]}`, the same code.\n"
        for row in rows
        if row.name in TWINS
    ]
    return "".join([*lines, "\n" if notes else "", *notes])


def _line(row: Row, run: Run | None) -> str:
    height_px, width_px = row.resize.size_hw
    cells = [f"`{row.name}`", f"{height_px}×{width_px}", _params(row), _top1(row), *_measured(run)]
    return "| " + " | ".join([*cells, ", ".join(map(_source, row.weights)) or "*none*"]) + " |"


def _params(row: Row) -> str:
    ours = f"{row.params_millions:.4g}" if row.params_millions < 1 else f"{row.params_millions:.2f}"
    return f"{ours} / {row.paper_params_millions or '–'}" + ("*" if row.params_note else "")


def _top1(row: Row) -> str:
    ours = f"{row.accuracy.value:.2f}" if row.accuracy else "–"
    if row.task != "classify":
        return f"{row.accuracy.metric} {ours}" if row.accuracy else "–"
    return f"{ours} / {row.paper_top1_percent or '–'}"


def _measured(run: Run | None) -> tuple[str, str, str, str]:
    if run is None:
        return ("–", "–", "–", "–")
    if run.state == "failed":
        return ("–", "–", "failed", f"{run.seconds:.0f}")
    return (f"{run.flops / 1e9:.3g}", f"{run.onnx_bytes / 1e6:.1f}", str(run.gates), f"{run.seconds:.0f}")


def _source(source: PackageWeights | HubWeights | StarterWeights) -> str:
    match source:
        case PackageWeights():
            return f"package {source.distribution} ({source.licence})"
        case HubWeights():
            return f"{source.library} `{source.tag}` ({source.licence})"
        case StarterWeights():
            return f"starter ({source.licence})"
