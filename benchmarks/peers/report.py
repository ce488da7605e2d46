"""results/peers-<device>.json → tables in Markdown, and the plot.

python -m benchmarks.peers.report [results/peers-….json]
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt

from benchmarks.device import RESULTS, slug
from benchmarks.peers.cells import LIMIT
from benchmarks.peers.contestants import CONTESTANTS, OURS, OURS_INT8, PEERS_FIELD

Row = dict[str, Any]
TITLES = {LIMIT: "limit, no server", **{one.name: one.title for one in CONTESTANTS}}
STYLES: dict[str, dict[str, Any]] = {
    LIMIT: {"color": "black", "linestyle": ":", "linewidth": 1.4},
    OURS.name: {"color": "#c1121f", "linewidth": 2.6, "marker": "o", "zorder": 5},
    OURS_INT8.name: {"color": "#f4978e", "linewidth": 2.0, "marker": "o", "linestyle": "--"},
    **{
        peer.name: {"color": color, "linewidth": 1.4, "marker": "."}
        for peer, color in zip(PEERS_FIELD, ("#2d6a4f", "#74c69d", "#4895ef", "#3a0ca3"), strict=True)
    },
}


def tables(document: Row) -> str:
    """Everything that was measured, as Markdown; docs/benchmarks.md holds exactly this."""
    parts = [_circumstances(document), "**Answers a second, closed loop** (in brackets: of the limit in that round)"]
    parts.append(_table(document, _closed(document), lambda row: _of_limit(row)))
    parts.append("**p50 / p99 in ms, closed loop**")
    parts.append(_table(document, _closed(document), lambda row: _two(row)))
    parts.append("**p50 / p95 / p99 in ms, open loop** (Poisson arrivals, from when each request was due)")
    parts.append(_table(document, _open(document), lambda row: _three(row)))
    parts.append("**What it takes** (8 clients; memory: most that was seen after any cell)")
    parts.append(_costs(document))
    parts.append("**In one line each**")
    parts.append("\n".join(f"- {line}" for line in verdicts(document)))
    parts.extend(_extras(document["extras"]))
    return "\n\n".join(parts) + "\n"


def verdicts(document: Row) -> list[str]:
    """The claims with their numbers."""
    claims = document["claims"]
    lines = [
        f"{name}: {_by_level(claims[key])}"
        for key, name in (
            ("of_limit", "Ours, FP32, of the limit"),
            ("best_peer_of_limit", "Best peer, of the limit"),
            ("fp32_over_best_peer", "Ours, FP32, over the best peer"),
            ("int8_over_best_peer_fp32", "Ours, INT8, over the best peer's FP32"),
            ("p99_over_best_peer", "p99 in open loop, ours FP32 / best peer's"),
            ("int8_p99_over_best_peer", "p99 in open loop, ours INT8 / best peer's"),
        )
    ]
    if claims.get("p50_at_one_client_over_best_peer") is not None:
        lines.append(f"p50 at one client, ours FP32 / best peer's: {claims['p50_at_one_client_over_best_peer']:.2f}")
    own = document.get("own_cost")
    if own:
        lines.append(
            "Our own cost at 70 % load (the client's latency less decode, queue and model, as answers say it): "
            f"p50 {own['p50_ms']:.2f} ms, p99 {own['p99_ms']:.2f} ms"
        )
        lines.append(
            f"Event loop under 32 clients: {own['loop_over_2ms']} of {own['loop_callbacks']} callbacks took over 2 ms "
            f"of processor time; the longest {own['loop_longest_ms']:.2f} ms"
        )
    return lines


def plot(document: Row, path: Path) -> None:
    """Throughput over clients, and latency over load."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 5), layout="constrained")
    for name, style in STYLES.items():
        closed = [row for row in document["summary"] if row["contestant"] == name and row["level"] in _closed(document)]
        if closed:
            at = [int(row["level"].split()[0]) for row in closed]
            left.plot(at, [row["per_s"] for row in closed], label=TITLES[name], **style)
        opened = [row for row in document["summary"] if row["contestant"] == name and row["level"] in _open(document)]
        if opened:
            shares = [int(row["level"].split()[0]) for row in opened]
            right.plot(shares, [row.get("p99_ms", math.nan) for row in opened], **style)
    left.set_xscale("log", base=2)
    left.set_xticks([int(level.split()[0]) for level in _closed(document)])
    left.xaxis.set_major_formatter(mpl.ticker.ScalarFormatter())
    left.set_xlabel("clients, closed loop")
    left.set_ylabel("answers a second")
    left.set_ylim(bottom=0)
    right.set_yscale("log")
    right.set_xlabel("offered load, % of the FP32 limit, open loop")
    right.set_ylabel("p99, ms from when it was due")
    for panel in (left, right):
        panel.grid(alpha=0.3)
    left.legend(fontsize=8)
    about = document["circumstances"]
    figure.suptitle(f"EfficientNet-Lite0 behind HTTP, {about['device']}, {about['date']}", fontsize=11)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _circumstances(document: Row) -> str:
    about, plan = document["circumstances"], document["plan"]
    versions = ", ".join(f"{name} {version}" for name, version in document["peer_versions"].items())
    disturbed = document["disturbed"]
    return (
        f"{about['device']}, {about['date']}; onnxruntime {about.get('onnxruntime-gpu', about.get('onnxruntime'))}, "
        f"Python {about['python']}; {versions}. {plan['rounds']} rounds of {plan['seconds']:g} s a cell, "
        f"{plan['pictures']} photographs of {plan['picture_kb']} KB. In {disturbed} of {len(document['cells'])} cells "
        f"other processes used more than 4 % of the cores, after up to three attempts."
    )


def _table(document: Row, levels: list[str], cell: Any) -> str:
    rows = {(row["contestant"], row["level"]): row for row in document["summary"]}
    names = [name for name in TITLES if any((name, level) in rows for level in levels)]
    lines = [_line(["", *levels]), _line(["---"] * (len(levels) + 1))]
    for name in names:
        lines.append(_line([TITLES[name], *(cell(rows[name, at]) if (name, at) in rows else "" for at in levels)]))
    return "\n".join(lines)


def _costs(document: Row) -> str:
    lines = [_line(["", "CPU-ms an answer", "load generator's own", "memory, MB", "ready in, s"]), _line(["---"] * 5)]
    for name in TITLES:
        rows = [row for row in document["summary"] if row["contestant"] == name]
        if not rows:
            continue
        row = next((row for row in rows if row["level"] == "8 clients"), rows[0])
        memory = max((other["memory_mb"] for other in rows if "memory_mb" in other), default=None)
        ready = document["ready_s"].get(name)
        lines.append(
            _line(
                [
                    TITLES[name],
                    f"{row['cpu_ms']:.2f}",
                    _number(row.get("client_cpu_ms"), 2),
                    _number(memory, 0),
                    _number(ready, 1),
                ]
            )
        )
    return "\n".join(lines)


def _extras(extras: Row) -> list[str]:
    parts = []
    if start := extras.get("start_up"):
        parts.append(f"**Start-up**: ready with {', '.join(start['models'])} in {start['ready_s']:.2f} s.")
    if models := extras.get("by_model"):
        parts.append("**Memory of one model more**")
        lines = [_line(["model", "memory, MB", "its file, MB"]), _line(["---"] * 3)]
        lines += [_line([row["model"], f"{row['memory_mb']:.0f}", f"{row['file_mb']:.1f}"]) for row in models]
        parts.append("\n".join(lines))
    if counts := extras.get("by_count"):
        parts.append("**Cost of many models** (the same network under other names; 4 clients)")
        heads = (
            "entries",
            "ready in, s",
            "memory, MB",
            "CPU-ms, one named",
            "CPU-ms, chosen among all",
            "p50 ms, named",
            "p50 ms, chosen",
        )
        lines = [_line(list(heads)), _line(["---"] * len(heads))]
        lines += [
            _line(
                [
                    *(str(row["entries"]), f"{row['ready_s']:.1f}", f"{row['memory_mb']:.0f}"),
                    *(f"{row['named_cpu_ms']:.2f}", f"{row['chosen_cpu_ms']:.2f}"),
                    *(f"{row['named_p50_ms']:.1f}", f"{row['chosen_p50_ms']:.1f}"),
                ]
            )
            for row in counts
        ]
        parts.append("\n".join(lines))
    if jpeg := extras.get("decoding"):
        parts.append(
            f"**A {jpeg['megapixels']:g}-megapixel JPEG** ({jpeg['file_mb']:g} MB) to the model's pixels, one thread: "
            f"scaled while decoding {jpeg['scaled_ms']:.0f} ms, in full {jpeg['full_ms']:.0f} ms: "
            f"{jpeg['ratio']:.1f} × faster."
        )
    if path := extras.get("triton"):
        rates = path["per_s"]
        parts.append(
            f"**Through Triton** ({path['clients']} clients, the same Triton): a tritonclient loop with tensors "
            f"ready made {rates['loop']:.0f} answers a second, one that decodes the JPEG itself "
            f"{rates['loop-decoding']:.0f}, "
            f"the gateway {rates['gateway']:.0f}: "
            f"{path['of_loop']:.2f} and {path['of_loop_decoding']:.2f} of them."
        )
    return parts


def _closed(document: Row) -> list[str]:
    return list(dict.fromkeys(row["level"] for row in document["cells"] if row["kind"] == "closed"))


def _open(document: Row) -> list[str]:
    return list(dict.fromkeys(row["level"] for row in document["cells"] if row["kind"] == "open"))


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _of_limit(row: Row) -> str:
    share = f" ({row['of_limit']:.2f})" if "of_limit" in row and row["contestant"] != LIMIT else ""
    return f"{row['per_s']:.0f}{share}{_failed(row)}"


def _two(row: Row) -> str:
    return f"{_number(row.get('p50_ms'), 1)} / {_number(row.get('p99_ms'), 1)}"


def _three(row: Row) -> str:
    return " / ".join(_number(row.get(name), 1) for name in ("p50_ms", "p95_ms", "p99_ms")) + _failed(row)


def _failed(row: Row) -> str:
    return f", {row['failed']} failed" if row["failed"] else ""


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _by_level(values: dict[str, float | None]) -> str:
    return ", ".join(f"{value:.2f} ({level})" for level, value in values.items() if value is not None) or "–"


def write(document: Row, name: str) -> Path:
    """The three files; returns the JSON's path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    (RESULTS / f"{name}.md").write_text("# This gateway beside others\n\n" + tables(document), encoding="utf-8")
    plot(document, RESULTS / f"{name}.png")
    return path


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS / f"peers-{slug()}.json"
    print(write(json.loads(path.read_text(encoding="utf-8")), path.stem))


if __name__ == "__main__":
    main()
