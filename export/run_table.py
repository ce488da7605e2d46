"""What became of every row of `vision-export --all`: kept as JSON, shown as Markdown.

A row is `passed` (exported, through every gate), `failed`, or not in the file: not run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from export.catalogue.row import Row
from export.catalogue.twins import TWINS

State = Literal["passed", "failed"]


@dataclass(frozen=True, slots=True)
class Run:
    """One row's run in a process of its own.

    recipe      digest of what it was made from: another one means that the run is out of date
    seconds     wall clock of the process, from its start to its end
    peak_mb     most memory that the process had at any time
    device      processor, number of cores, and the libraries' versions
    error       what the gate `error` said: output by output, how far it is off and how far it may be
    """

    name: str
    state: State
    recipe: str
    seconds: float
    peak_mb: int
    reason: str = ""
    weights: str = ""
    params: int = 0
    flops: int = 0
    onnx_bytes: int = 0
    gates: int = 0
    p50_ms: float | None = None
    device: str = ""
    error: str = ""


def error_of(results: Iterable[tuple[str, str]]) -> str:
    """What the gate `error` said, which of detectors and segmenters is `before_error`."""
    said = dict(results)
    return said.get("error") or said.get("before_error", "")


def read_runs(path: Path) -> dict[str, Run]:
    """Name → run; empty if there is no such file yet."""
    if not path.is_file():
        return {}
    return {line["name"]: Run(**line) for line in json.loads(path.read_text(encoding="utf-8"))}


def write_runs(path: Path, runs: Mapping[str, Run]) -> None:
    """Writes the file whole or not at all: a run may be killed at any time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    lines = ",\n".join(json.dumps(asdict(run), ensure_ascii=False) for run in runs.values())
    draft.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    draft.replace(path)


def summary(rows: Iterable[Row], runs: Mapping[str, Run]) -> str:
    """One sentence: how many rows, run, passed, failed; the minutes added up, the most memory of one."""
    names = [row.name for row in rows]
    run = [runs[name] for name in names if name in runs]
    passed = sum(one.state == "passed" for one in run)
    minutes = sum(one.seconds for one in run) / 60
    peak_gb = max((one.peak_mb for one in run), default=0) / 1000
    return (
        f"{len(names)} rows: {len(run)} run, {passed} passed every gate, {len(run) - passed} failed, "
        f"{len(names) - len(run)} not run; {minutes:.0f} minutes added up, {peak_gb:.1f} GB at most."
    )


def markdown(every_row: Iterable[Row], runs: Mapping[str, Run]) -> str:
    """The page: the sentence, the devices, a line per row."""
    rows = tuple(every_row)
    devices = sorted({run.device for run in runs.values() if run.device})
    head = ["# `vision-export --all`", "", summary(rows, runs), "", *(f"Measured on {device}." for device in devices)]
    head += ["Written by `vision-export --all --runs docs/catalogue-run.json`; `ms` is one picture on one thread.", ""]
    head += ["| model | state | s | peak MB | M params | MB | gates | error ≤ allowed | ms | why it failed |"]
    head += ["|---|---|--:|--:|--:|--:|--:|--:|--:|---|"]
    return "\n".join([*head, *(_line(row, runs.get(row.name)) for row in rows)]) + "\n"


def _line(row: Row, run: Run | None) -> str:
    if run is None:
        twin = f"too large for 16 GB; proved by `{TWINS[row.name][0]}`" if row.name in TWINS else ""
        return f"| `{row.name}` | not run | – | – | {row.params_millions:.2f} | – | – | – | – | {twin} |"
    size = f"{run.onnx_bytes / 1e6:.1f}" if run.onnx_bytes else "–"
    took = f"{run.p50_ms:.1f}" if run.p50_ms else "–"
    cells = [f"`{run.name}`", run.state, f"{run.seconds:.0f}", str(run.peak_mb), f"{row.params_millions:.2f}"]
    cells += [size, str(run.gates) if run.gates else "–", _closest(run.error), took, run.reason]
    return "| " + " | ".join(cells) + " |"


def _closest(error: str) -> str:
    """Of the outputs that the gate names, the one that has used most of what it may be off."""
    said: list[tuple[str, str]] = re.findall(r"(\S+) ≤ (\S+?)(?:,|$)", error)
    if not said:
        return "–"
    off, allowed = max(said, key=lambda pair: float(pair[0]) / float(pair[1]))
    return f"{off} ≤ {allowed}"
