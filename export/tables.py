"""What `vision-export` shows as tables."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table

from export.catalogue.row import HubWeights, PackageWeights, Row, StarterWeights
from export.outcome import Outcome
from export.run_table import Run

_KINDS = {PackageWeights: "package", HubWeights: "hub", StarterWeights: "starter"}


def catalogue_table(rows: Iterable[Row]) -> Table:
    """Every row with what a person chooses by."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("name", "task"):
        table.add_column(heading, no_wrap=heading == "name")
    for heading in ("year", "pixels", "M params", "top-1 %"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("weights")
    for row in rows:
        height_px, width_px = row.resize.size_hw
        table.add_row(
            row.name,
            row.task,
            str(row.year),
            f"{height_px}×{width_px}",
            f"{row.params_millions:.2f}",
            f"{row.accuracy.value:.1f}" if row.accuracy else "–",
            ", ".join(_KINDS[type(source)] for source in row.weights),
        )
    return table


def outcomes_table(outcomes: Iterable[Outcome]) -> Table:
    """What became of every row of a run."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("model", "state", "weights"):
        table.add_column(heading, no_wrap=True)
    for heading in ("M params", "MB", "ms", "gates", "s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for outcome in outcomes:
        table.add_row(outcome.name, outcome.state, *_measured(outcome), f"{outcome.seconds:.1f}")
    return table


def _measured(outcome: Outcome) -> tuple[str, str, str, str, str]:
    card = outcome.card
    if card is None:
        return ("–", "–", "–", "–", "–")
    p50_ms = dict(card.profile.p50_ms_by_batch).get(1) if card.profile else None
    return (
        card.weights.source,
        f"{card.params / 1e6:.2f}",
        f"{card.onnx_bytes / 1e6:.1f}",
        f"{p50_ms:.1f}" if p50_ms else "–",
        str(len(card.verification)),
    )


def runs_table(runs: Iterable[Run]) -> Table:
    """What became of every row of `--all`."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("model", "state"):
        table.add_column(heading, no_wrap=True)
    for heading in ("s", "peak MB", "gates"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("why it failed")
    for run in runs:
        table.add_row(run.name, run.state, f"{run.seconds:.0f}", str(run.peak_mb), str(run.gates or "–"), run.reason)
    return table
