"""How outcomes are shown: a table for people, JSON lines or CSV for programs."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from typing import Any, Literal, Protocol

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from service.cli.asking import Outcome, Result
from service.client import Classification, Detections, ProblemError, Segmentation

Task = Literal["classify", "detect", "segment"]

# Of a table that nobody's terminal bounds.
_WIDTH_OF_A_FILE = 400
_COLUMNS: dict[Task, tuple[str, ...]] = {
    "classify": ("label", "class_id", "score"),
    "detect": ("label", "class_id", "score", "xmin", "ymin", "xmax", "ymax"),
    "segment": ("label", "class_id", "score", "xmin", "ymin", "xmax", "ymax", "area_px"),
}


class Report(Protocol):
    """Takes every outcome in order; `close` says what could not be said before."""

    def add(self, outcome: Outcome) -> None: ...
    def close(self) -> None: ...


class JsonReport:
    """The gateway's own document with `file` in front; of a picture that failed `file` and `problem`."""

    def add(self, outcome: Outcome) -> None:
        said: dict[str, Any] = {"file": str(outcome.picture.path)}
        if outcome.overlay is not None:
            said["overlay"] = str(outcome.overlay)
        if outcome.result is not None:
            said |= outcome.result.document
        elif isinstance(outcome.error, ProblemError):
            said["problem"] = outcome.error.document
        else:
            said["problem"] = {"type": "about:blank", "title": type(outcome.error).__name__, "detail": reason(outcome)}
        typer.echo(json_line(said))

    def close(self) -> None:
        pass


class CsvReport:
    """A row for each label or thing; of a picture that failed, one row whose `error` is not empty."""

    def __init__(self, task: Task) -> None:
        self._columns = ("file", *_COLUMNS[task], "model", "total_ms", "error")
        self._writer = csv.DictWriter(sys.stdout, self._columns, restval="", lineterminator="\n")
        self._writer.writeheader()

    def add(self, outcome: Outcome) -> None:
        file = {"file": str(outcome.picture.path)}
        result = outcome.result
        if result is None:
            self._writer.writerow(file | {"error": reason(outcome)})
        else:
            every = file | {"model": result.model.name, "total_ms": result.timing_ms["total"]}
            self._writer.writerows(every | row for row in _rows(result))
        sys.stdout.flush()

    def close(self) -> None:
        pass


class TableReport:
    """A table at the end; of an interrupted command, of what was answered until then."""

    def __init__(self, task: Task) -> None:
        self._table = Table(box=None, padding=(0, 2, 0, 0))
        self._table.add_column("picture", overflow="fold")
        self._table.add_column("label", overflow="fold")
        numbers = {"classify": ("score",), "detect": ("score", "box"), "segment": ("score", "area", "box")}[task]
        for heading in numbers:
            self._table.add_column(heading, justify="right", no_wrap=True)
        self._table.add_column("model", overflow="fold")
        self._table.add_column("ms", justify="right", no_wrap=True)

    def add(self, outcome: Outcome) -> None:
        result = outcome.result
        if result is None:
            return
        cells = list(_cells(result)) or [["nothing found", *[""] * (len(self._table.columns) - 4)]]
        ends = (result.model.name, f"{result.timing_ms['total']:.0f}")
        for number, row in enumerate(cells):
            first = number == 0
            # Text, because a file may be called [red] or :cat:, which mean something in rich's markup.
            name = Text(str(outcome.picture.path) if first else "")
            self._table.add_row(name, Text(row[0]), *row[1:], *(ends if first else ("", "")))

    def close(self) -> None:
        if self._table.row_count:
            table_console().print(self._table)


def json_line(document: Any) -> str:
    """The document on one line; in ASCII where a file's name is no Unicode."""
    text = json.dumps(document, ensure_ascii=False)
    return text if _is_unicode(text) else json.dumps(document)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def table_console() -> Console:
    """Standard output, as wide as its terminal; a file has no width."""
    return Console() if sys.stdout.isatty() else Console(width=_WIDTH_OF_A_FILE)


def reason(outcome: Outcome) -> str:
    """Why there is no result, as one sentence."""
    err = outcome.error
    if isinstance(err, OSError) and err.strerror:
        return f"{err.strerror}: {err.filename}" if err.filename else err.strerror
    return str(err)


def _rows(result: Result) -> Iterator[dict[str, Any]]:
    if isinstance(result, Classification):
        for one in result.document["predictions"]:
            yield {"label": one["label"], "class_id": one["class_id"], "score": one["score"]}
        return
    for one in result.document["predictions"]:
        row = {"label": one["label"], "class_id": one["class_id"], "score": one["score"], **one["box"]}
        yield row | ({"area_px": one["area_px"]} if isinstance(result, Segmentation) else {})


def _cells(result: Result) -> Iterator[list[str]]:
    if isinstance(result, Classification):
        for label, score in zip(result.labels, result.scores, strict=True):
            yield [label, f"{score:.1%}"]
    elif isinstance(result, Detections):
        for thing in result:
            yield [thing.label, f"{thing.score:.2f}", _box(thing.box)]
    else:
        height_px, width_px = result.image_hw
        for thing, area_px in zip(result, result.areas_px, strict=True):
            score = "–" if thing.score != thing.score else f"{thing.score:.2f}"
            yield [thing.label, score, f"{area_px / (height_px * width_px):.1%}", _box(thing.box)]


def _box(xyxy: tuple[float, float, float, float]) -> str:
    return ", ".join(f"{edge:.0f}" for edge in xyxy)
