"""The tables of docs/routing-benchmark.md, from what the simulation and the real run left in results/."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.arrivals import PROCESSES
from benchmarks.device import RESULTS
from benchmarks.routing import DISTURBED_PERCENT

Row = dict[str, Any]

# The device whose numbers docs/ shows.
DEVICE = "amd-epyc-2-cores"
SHORT = {
    "mobilenet_v2": "mobilenet",
    "efficientnet_lite0": "lite0",
    "efficientnet_lite1": "lite1",
    "efficientnet_lite2": "lite2",
}


def simulation_table() -> str:
    """Effective accuracy by arrivals and load, beside the oracle."""
    document = _read("simulation")
    lines = ["| arrivals | load | oracle | **ours** | % of oracle | best fixed | greedy | random | profile alone |"]
    lines.append("| --- " * 9 + "|")
    for process, load, rows in _cells(document["cells"]):
        ours, oracle = _mean(rows, "ours"), float(np.mean([row["oracle"] for row in rows]))
        others = " | ".join(f"{_mean(rows, name):.1f}" for name in ("ours-greedy", "random", "static-profile"))
        best, name = _best(rows)
        lines.append(
            f"| {process} | {load:.0%} | {oracle:.1f} | **{ours:.1f}** | {100 * ours / oracle:.1f} | "
            f"{best:.1f} {name} | {others} |"
        )
    return "\n".join([*lines, "", _kept(document["cells"])])


def shared_table() -> str:
    """The same on a machine that has other things to do."""
    document = _read("simulation")
    lines = ["| arrivals | load | **ours** | best fixed | admitted in time, % | p95 coverage, % |", "| --- " * 6 + "|"]
    for process, load, rows in _cells(document["shared"]):
        best, name = _best(rows)
        in_time, held = _mean(rows, "ours", "in_time_of_admitted"), _mean(rows, "ours", "coverage")
        ours = _mean(rows, "ours")
        lines.append(f"| {process} | {load:.0%} | **{ours:.1f}** | {best:.1f} {name} | {in_time:.1f} | {held:.1f} |")
    return "\n".join(lines)


def alike_table() -> str:
    """What of the distance to the oracle is knowing which pictures take long."""
    document = _read("simulation")
    if not document.get("alike"):
        return "Not run yet: `python -m benchmarks.simulate --parts alike`."
    same = {(process, load): rows for process, load, rows in _cells(document["alike"])}
    lines = ["| arrivals | load | as measured | alike |", "| --- " * 4 + "|"]
    for process, load, rows in _cells(document["cells"]):
        if (process, load) in same:
            shares = (_mean(here, "ours", "of_oracle") for here in (rows, same[process, load]))
            lines.append(f"| {process} | {load:.0%} | " + " | ".join(f"{share:.1f}" for share in shares) + " |")
    return "\n".join(lines)


def real_table() -> str:
    """The real server, and what it was measured on."""
    document = _read("routing")
    seen, capacities = document["circumstances"], document["capacity_per_s"]
    others = [row["others_cpu"] for row in document["cells"]]
    quiet = sum(percent <= DISTURBED_PERCENT for percent in others)
    rates = ", ".join(f"{SHORT[model]} {rate:.0f}" for model, rate in capacities.items())
    lines = [
        f"{seen['device']}, {seen['date']}, cores shared by server and client. Other programs used up to "
        f"{DISTURBED_PERCENT:g} % of the processor time that these two used in {quiet} of {len(others)} cells, "
        f"{max(others):g} % in the worst. Answers a second: {rates}.",
        "",
        "| arrivals | load | **ours** | best fixed | admitted in time, % | p99 of answers, ms "
        "| refused in, median (p99) ms | p95 coverage, % |",
        "| --- " * 8 + "|",
    ]
    for process, load, rows in _cells(document["cells"]):
        best, name = _best(rows)
        ours = next(row for row in rows if row["policy"] == "ours")
        refused = "–" if ours["shed_p50_ms"] is None else f"{ours['shed_p50_ms']:.1f} ({ours['shed_p99_ms']:.0f})"
        held = 100 * ours["coverage"]
        lines.append(
            f"| {process} | {load:.0%} | **{ours['effective_accuracy']:.1f}** | {best:.1f} {name} | "
            f"{ours['in_time_of_admitted']:.1f} | {ours['p99_ms'] or 0:.0f} | {refused} | {held:.1f} |"
        )
    return "\n".join([*lines, "", _beside_the_best(document["cells"])])


def _kept(rows: Sequence[Row]) -> str:
    ours = [row for row in rows if row["policy"] == "ours"]
    in_time = min(row["in_time_of_admitted"] for row in ours)
    held = [row["coverage"] for row in ours]
    late = max(row["p99_ms"] for row in ours)
    return (
        f"Of the admitted {in_time:.1f} % or more were in time in every run, p99 at most {late:.0f} ms; p95 coverage "
        f"between {min(held):.1f} and {max(held):.1f} %. {_beside_the_best(rows)}"
    )


def _beside_the_best(rows: Sequence[Row]) -> str:
    gains = [_mean(here, "ours") - _best(here)[0] for _, _, here in _cells(rows)]
    below, above = -min(gains), max(gains)
    return f"Beside the best fixed model of each cell: from {below:.1f} points below to {above:.1f} above."


def _read(what: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((RESULTS / f"{what}-{DEVICE}.json").read_text(encoding="utf-8"))
    return document


def _cells(rows: Sequence[Row]) -> list[tuple[str, float, list[Row]]]:
    keys = sorted({(PROCESSES.index(row["process"]), row["load"]) for row in rows})
    return [
        (PROCESSES[at], load, [row for row in rows if row["process"] == PROCESSES[at] and row["load"] == load])
        for at, load in keys
    ]


def _mean(rows: Sequence[Row], policy: str, number: str = "effective_accuracy") -> float:
    return float(np.mean([row[number] for row in rows if row["policy"] == policy]))


def _best(rows: Sequence[Row]) -> tuple[float, str]:
    """The best fixed model's effective accuracy, and its short name."""
    return max((_mean(rows, model), name) for model, name in SHORT.items() if any(r["policy"] == model for r in rows))
