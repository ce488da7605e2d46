"""Tables and plots of what `benchmarks.routing` and `benchmarks.simulate` left in results/, and those of the docs.

python -m benchmarks.report
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from benchmarks.arrivals import PROCESSES
from benchmarks.device import RESULTS, slug
from tests import write_docs

Row = dict[str, Any]

STYLES = {
    "ours": {"color": "#c1121f", "linewidth": 2.6, "marker": "o", "zorder": 5},
    "ours-greedy": {"color": "#f4978e", "linewidth": 1.2, "linestyle": "--"},
    "oracle": {"color": "black", "linewidth": 1.4, "linestyle": ":"},
    "random": {"color": "#9d9d9d", "linewidth": 1.2, "marker": "x"},
    "static-profile": {"color": "#b08968", "linewidth": 1.2, "marker": "x"},
    "mobilenet_v2": {"color": "#74c69d", "linewidth": 1.4, "marker": "."},
    "efficientnet_lite0": {"color": "#2d6a4f", "linewidth": 1.4, "marker": "."},
    "efficientnet_lite1": {"color": "#4895ef", "linewidth": 1.4, "marker": "."},
    "efficientnet_lite2": {"color": "#3a0ca3", "linewidth": 1.4, "marker": "."},
}
MODELS = [name for name in STYLES if name.startswith(("mobilenet", "efficientnet"))]
STEP_WINDOW_S = 1.0


def plot_loads(cells: Sequence[Row], title: str, path: Path) -> None:
    """Effective accuracy over load, one panel for each arrival process."""
    processes = [process for process in PROCESSES if any(row["process"] == process for row in cells)]
    figure, panels = plt.subplots(2, 3, figsize=(13, 7.5), sharex=True, sharey=True, layout="constrained")
    for panel, process in zip(panels.flat, processes, strict=False):
        rows = [row for row in cells if row["process"] == process]
        for policy, style in STYLES.items():
            points = _mean_by_load(row for row in rows if row["policy"] == policy)
            if policy == "oracle" and "oracle" in rows[0]:
                points = _mean_by_load({**row, "effective_accuracy": row["oracle"]} for row in rows)
            if points:
                panel.plot([100 * load for load in points], list(points.values()), label=policy, **style)
        panel.set_title(process, fontsize=11)
        panel.grid(alpha=0.3)
    figure.supxlabel("offered load, % of what the fastest model can do")
    figure.supylabel("effective accuracy, % (published top-1 of answers in time, over all offered)")
    figure.suptitle(title, fontsize=11)
    figure.legend(*panels.flat[0].get_legend_handles_labels(), loc="outside right center", fontsize=9)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def plot_steps(document: dict[str, Any], path: Path) -> None:
    """The offered rate, which models answered, and how long that took, over time."""
    steps: list[Row] = document["steps"]
    due_s = np.array([row["due_s"] for row in steps])
    edges = np.arange(0.0, due_s.max() + STEP_WINDOW_S, STEP_WINDOW_S)
    figure, (rates, models, times) = plt.subplots(3, 1, figsize=(11, 8.5), sharex=True, layout="constrained")
    offered = np.histogram(due_s, edges)[0] / STEP_WINDOW_S
    rates.stairs(offered, edges, color="black", label="offered")
    in_time = due_s[[row["status"] == 200 and row["latency_ms"] <= 50.0 for row in steps]]
    rates.stairs(np.histogram(in_time, edges)[0] / STEP_WINDOW_S, edges, color="#c1121f", label="answered in 50 ms")
    rates.set_ylabel("requests / s")
    rates.legend(fontsize=9)
    below = np.zeros(len(edges) - 1)
    for model in MODELS:
        counts = np.histogram(due_s[[row["model"] == model for row in steps]], edges)[0]
        share = 100 * counts / np.maximum(1, np.histogram(due_s, edges)[0])
        models.bar(edges[:-1], share, STEP_WINDOW_S, below, align="edge", color=STYLES[model]["color"], label=model)
        below += share
    models.set_ylabel("answered by, % of offered")
    models.legend(fontsize=9, loc="lower right")
    answered = [row for row in steps if row["status"] == 200]
    at_s = [row["due_s"] for row in answered]
    times.scatter(at_s, [row["latency_ms"] for row in answered], s=7, color="#c1121f", label="observed")
    times.scatter(at_s, [row["predicted_ms"] for row in answered], s=7, color="#577590", label="predicted (95 %)")
    times.axhline(50, color="black", linewidth=1)
    times.set_ylim(0, 80)
    times.set_ylabel("ms")
    times.set_xlabel("seconds")
    times.legend(fontsize=9)
    figure.suptitle(f"One budget of 50 ms while the load rises and falls: {_where(document)}", fontsize=11)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def routing_tables(document: dict[str, Any]) -> str:
    """Markdown: effective accuracy by policy, then how ours was reached, then the tiers."""
    cells: list[Row] = document["cells"]
    policies = [policy for policy in STYLES if any(row["policy"] == policy for row in cells)]
    parts = [f"# Routing on the real server\n\n{_where(document)}. Budget {document['budget_ms']:g} ms."]
    parts.append("Capacity, answers a second end to end: " + _capacities(document["capacity_per_s"]))
    parts.append("## Effective accuracy, %\n\n" + effective_table(cells, policies))
    parts.append(
        "## Measured top-1 of answers in time over all offered, %\n\n" + effective_table(cells, policies, "top1")
    )
    details = (
        *("process", "load", "offered_per_s", "in_time_of_offered", "in_time_of_admitted", "goodput_per_s", "shed"),
        *("missed", "unanswered", "shed_p50_ms", "shed_p99_ms", "p50_ms", "p99_ms", "wasted_ms_per_s"),
        *("coverage", "others_cpu", "sent_late_p99_ms", "models"),
    )
    for policy in policies:
        rows = [row for row in cells if row["policy"] == policy]
        parts.append(f"## {policy}\n\n" + _table(details, rows))
    if document.get("tiers"):
        columns = ("process", "load", "tier", *details[2:14], "effective_accuracy", "models")
        parts.append(
            "## Mixed tiers, ours\n\n" + _table([c for c in columns if c in document["tiers"][0]], document["tiers"])
        )
    return "\n\n".join(parts) + "\n"


def simulation_tables(document: dict[str, Any]) -> str:
    cells: list[Row] = document["cells"]
    policies = [policy for policy in STYLES if any(row["policy"] == policy for row in cells)]
    ours = [row for row in cells if row["policy"] == "ours"]
    parts = [f"# Routing in simulation\n\n{_where(document)}. Budget {ours[0]['budget_ms']:g} ms."]
    parts.append("## Effective accuracy, %\n\n" + effective_table(cells, [*policies, "oracle", "bound"]))
    parts.append("## Ours, % of the oracle's\n\n" + effective_table(ours, ["ours"], "of_oracle"))
    details = (
        *("process", "load", "of_oracle", "of_bound", "in_time_of_offered", "in_time_of_admitted", "goodput_per_s"),
        *("p50_ms", "p99_ms", "wasted_ms_per_s", "coverage", "models"),
    )
    parts.append("## Ours\n\n" + _table(details, ours))
    return "\n\n".join(parts) + "\n"


def effective_table(cells: Sequence[Row], policies: Sequence[str], number: str = "effective_accuracy") -> str:
    """A row for each process and load, a column for each policy; the mean over seeds."""
    lines = []
    for process in PROCESSES:
        for load in sorted({row["load"] for row in cells if row["process"] == process}):
            here = [row for row in cells if row["process"] == process and row["load"] == load]
            numbers = [_mean(here, policy, number) for policy in policies]
            lines.append({"process": process, "load": load, **dict(zip(policies, numbers, strict=True))})
    return _table(["process", "load", *policies], lines)


def _mean(rows: Sequence[Row], policy: str, number: str) -> float | None:
    if policy in ("oracle", "bound"):
        found = [row[policy] for row in rows if row[policy] is not None]
    else:
        found = [row[number] for row in rows if row["policy"] == policy and row[number] is not None]
    return round(float(np.mean(found)), 1) if found else None


def _mean_by_load(rows: Iterable[Row]) -> dict[float, float]:
    by_load: dict[float, list[float]] = {}
    for row in rows:
        if row["effective_accuracy"] is not None:
            by_load.setdefault(row["load"], []).append(row["effective_accuracy"])
    return {load: float(np.mean(found)) for load, found in sorted(by_load.items())}


def _table(columns: Sequence[str], rows: Iterable[Row]) -> str:
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(_cell(row.get(column)) for column in columns) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: object) -> str:
    return "–" if value is None else str(value)


def _capacities(capacities: dict[str, float]) -> str:
    return ", ".join(f"{model} {rate:g}" for model, rate in capacities.items()) + "."


def _where(document: dict[str, Any]) -> str:
    seen = document["circumstances"]
    runtime = seen.get("onnxruntime-gpu") or seen.get("onnxruntime")
    return f"{seen['device']}, ONNX Runtime {runtime}, Python {seen['python']}, {seen['date']}"


def main() -> None:
    device = slug()
    routing, simulation = RESULTS / f"routing-{device}.json", RESULTS / f"simulation-{device}.json"
    if routing.is_file():
        document = json.loads(routing.read_text(encoding="utf-8"))
        routing.with_suffix(".md").write_text(routing_tables(document), encoding="utf-8")
        plot_loads(document["cells"], f"Real server: {_where(document)}", routing.with_suffix(".png"))
        if document.get("steps"):
            plot_steps(document, RESULTS / f"steps-{device}.png")
    if simulation.is_file():
        document = json.loads(simulation.read_text(encoding="utf-8"))
        simulation.with_suffix(".md").write_text(simulation_tables(document), encoding="utf-8")
        plot_loads(
            document["cells"], f"Simulation, service times of {_where(document)}", simulation.with_suffix(".png")
        )
    write_docs.main()


if __name__ == "__main__":
    main()
