"""The tables of docs/ that can be counted, written from the code: `python -m tests.write_docs`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, get_args, get_origin

from prometheus_client.metrics_core import Metric
from pydantic.fields import FieldInfo

from benchmarks import pinned_workers, routing_summary
from benchmarks.device import RESULTS
from benchmarks.peers import report
from export.catalogue import starter
from export.catalogue.row import Row
from export.quantisation.ranges import TaskQuality, shipped_ranges
from service import errors, problems
from service.errors import VisionError
from service.metrics import Metrics
from service.schemas import ClassifyQuery, DetectQuery, EmbedQuery, FindQuery, RouteQuery, RouteTaskQuery, SegmentQuery
from service.settings import Settings
from tests import command_tables

DOCS = Path(__file__).resolve().parents[1] / "docs"


def settings_table() -> str:
    rows = [
        f"| `VISION_{name.upper()}` | `{field.default}` | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(["| variable | default | meaning |", "|---|---|---|", *rows])


def metrics_table() -> str:
    def row(metric: Metric) -> str:
        suffix = "_total" if metric.type == "counter" else ""
        labels = ", ".join(f"`{label}`" for label in _labels(metric.name))
        return f"| `{metric.name}{suffix}` | {metric.type} | {labels} | {metric.documentation} |"

    rows = [row(metric) for metric in Metrics().registry.collect()]
    return "\n".join(["| metric | type | labels | meaning |", "|---|---|---|---|", *rows])


def _labels(name: str) -> tuple[str, ...]:
    for collector in vars(Metrics()).values():
        if getattr(collector, "_name", None) == name:
            return tuple(collector._labelnames)
    return ()


def parameters_table() -> str:
    shown: set[str] = set()

    def rows(query: type[RouteQuery], where: str) -> Iterator[str]:
        for name, field in query.model_fields.items():
            if name not in shown:
                shown.add(name)
                yield f"| `{name}` | {where} | {_values(field)} | {_default(field)} | {field.description} |"

    for_all = [*rows(RouteQuery, "all")]
    lines = [
        *rows(ClassifyQuery, "classify"),
        *rows(EmbedQuery, "embed"),
        *rows(FindQuery, "detect, segment"),
        *rows(DetectQuery, "detect"),
        *rows(SegmentQuery, "segment"),
        *rows(RouteTaskQuery, "route"),
        *for_all,
    ]
    return "\n".join(["| parameter | route | values | default | meaning |", "|---|---|---|---|---|", *lines])


def _values(field: FieldInfo) -> str:
    kinds = [kind for kind in (get_args(field.annotation) or (field.annotation,)) if kind is not type(None)]
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(field.annotation))
    if get_origin(kinds[0]) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(kinds[0]))
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    bounds = [
        f"{signs[name]} {getattr(limit, name)}" for limit in field.metadata for name in signs if hasattr(limit, name)
    ]
    return " ".join([str(getattr(kinds[0], "__name__", kinds[0])), *bounds])


def _default(field: FieldInfo) -> str:
    return "" if field.default is None else f"`{field.default}`"


def errors_table() -> str:
    rows = [f"| {err.status} | `{err.code}` | {err.title} |" for err in sorted(client_errors(), key=_status_then_code)]
    return "\n".join(["| status | code | meaning |", "|---|---|---|", *rows])


def _status_then_code(err: type[VisionError]) -> tuple[int, str]:
    return err.status, err.code


def client_errors() -> set[type[VisionError]]:
    """Every error class that a client can meet: those that are raised as they are."""
    classes = {value for module in (errors, problems) for value in vars(module).values() if _is_error(value)}
    return {err for err in classes if err is not errors.InvalidEntry}


def _is_error(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, VisionError)


def starter_table() -> str:
    def cell(row: Row) -> str:
        height_px, width_px = row.resize.size_hw
        assert row.accuracy is not None
        ranges = shipped_ranges(row.name)
        assert ranges is not None
        assert isinstance(ranges.measured, TaskQuality)
        _, fp32_percent, int8_percent = ranges.measured.scores[0]
        quality = f"{row.accuracy.metric} {row.accuracy.value:g} | {fp32_percent:.2f} → {int8_percent:.2f}"
        kind = row.segment_kind or row.task
        return f"| `{row.name}` | {kind} | {height_px}×{width_px} | {quality} | {row.accuracy.dataset} |"

    heading = ["| variant | kind | input | quality, % | FP32 → INT8, as graphs | on |", "|---|---|---|---|---|---|"]
    return "\n".join([*heading, *(cell(row) for row in starter.ROWS)])


def peers_tables() -> str:
    """Every run of `make bench` that was kept; the quick ones are not."""
    paths = [path for path in sorted(RESULTS.glob("peers-*.json")) if path.stem != "peers-quick"]
    parts = []
    for path in paths:
        document = json.loads(path.read_text(encoding="utf-8"))
        parts.append(f"{report.tables(document)}\n![{path.stem}](../benchmarks/results/{path.stem}.png)")
    return "\n\n".join(parts) or "No run has been kept yet: `make bench`."


def openvino_table() -> str:
    document = json.loads((RESULTS / "openvino.json").read_text(encoding="utf-8"))
    versions = f"onnxruntime-openvino {document['onnxruntime-openvino']}, OpenVINO {document['openvino']}"
    heading = [
        f"{document['device']}, {document['date']}; {versions}.",
        "",
        "| model | way | processor time, × faster than ONNX Runtime's own kernels | off |",
        "|---|---|---|---|",
    ]
    rows = [f"| {row['model']} | {row['way']} | {row['ratio']:.2f} | {row['off']:.4f} |" for row in document["rows"]]
    return "\n".join([*heading, *rows])


def pinned_table() -> str:
    paths = sorted(RESULTS.glob("pinned-workers-*.json"))
    return "\n\n".join(pinned_workers.table(json.loads(path.read_text(encoding="utf-8"))) for path in paths)


TABLES: dict[str, tuple[str, Callable[[], str]]] = {
    "settings": ("settings.md", settings_table),
    "metrics": ("metrics.md", metrics_table),
    "parameters": ("api.md", parameters_table),
    "errors": ("api.md", errors_table),
    "openvino": ("quantisation.md", openvino_table),
    "pinned": ("benchmarks.md", pinned_table),
    "peers": ("benchmarks.md", peers_tables),
    "routing-simulation": ("routing-benchmark.md", routing_summary.simulation_table),
    "routing-shared": ("routing-benchmark.md", routing_summary.shared_table),
    "routing-alike": ("routing-benchmark.md", routing_summary.alike_table),
    "routing-real": ("routing-benchmark.md", routing_summary.real_table),
    "options": ("cli.md", command_tables.vision_options),
    "export-options": ("exporting.md", command_tables.export_options),
    "eval-options": ("starter-heads.md", command_tables.evaluation_options),
    "starter": ("starter-heads.md", starter_table),
}


def with_table(page: str, name: str, table: str) -> str:
    """The page with the part between its two markers replaced. Raises ValueError if they are not there."""
    pattern = re.compile(rf"(<!-- {name}:[^>]*-->\n).*?(<!-- /{name} -->)", re.DOTALL)
    written, count = pattern.subn(lambda found: f"{found[1]}\n{table}\n\n{found[2]}", page)
    if count != 1:
        raise ValueError(f"the page has {count} places for {name}")
    return written


def main() -> None:
    for name, (file, table) in TABLES.items():
        path = DOCS / file
        path.write_text(with_table(path.read_text(encoding="utf-8"), name, table()), encoding="utf-8")


if __name__ == "__main__":
    main()
