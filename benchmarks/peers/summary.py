"""Cells → what they say together: medians over the rounds, and ratios taken round by round."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.peers.cells import DISTURBED, LIMIT
from benchmarks.peers.contestants import OURS, OURS_INT8, PEERS_FIELD

Row = dict[str, Any]
_NUMBERS = ("per_s", "p50_ms", "p95_ms", "p99_ms", "cpu_ms", "client_cpu_ms", "memory_mb", "others")


def summarise(rows: Sequence[Row]) -> list[Row]:
    """One row for each contestant and level: medians, and `of_limit` where the limit was measured beside it."""
    found = []
    for level in dict.fromkeys(row["level"] for row in rows):
        for name in dict.fromkeys(row["contestant"] for row in rows):
            cells = [row for row in rows if row["level"] == level and row["contestant"] == name]
            if cells:
                found.append({"level": level, "contestant": name, **_medians(cells), **_of_limit(cells, rows)})
    return found


def claims(rows: Sequence[Row]) -> dict[str, Any]:
    """What is claimed, as ratios: of the limit, of the best peer at the same level."""
    closed = list(dict.fromkeys(row["level"] for row in rows if row["kind"] == "closed"))
    best_per_s = {level: _best(rows, level, "per_s", max) for level in closed}
    ours_int8 = {level: _median(rows, OURS_INT8.name, level, "per_s") for level in closed}
    ours = {level: _median(rows, OURS.name, level, "per_s") for level in closed}
    said: dict[str, Any] = {
        "of_limit": {level: _of(rows, OURS.name, level) for level in closed},
        "best_peer_of_limit": {level: _best_of_limit(rows, level) for level in closed},
        "fp32_over_best_peer": {level: _ratio(ours[level], best_per_s[level]) for level in closed},
        "int8_over_best_peer_fp32": {level: _ratio(ours_int8[level], best_per_s[level]) for level in closed},
    }
    if "1 clients" in closed:
        said["p50_at_one_client_over_best_peer"] = _ratio(
            _median(rows, OURS.name, "1 clients", "p50_ms"), _best(rows, "1 clients", "p50_ms", min)
        )
    opened = list(dict.fromkeys(row["level"] for row in rows if row["kind"] == "open"))
    said["p99_over_best_peer"] = {
        level: _ratio(_median(rows, OURS.name, level, "p99_ms"), _best(rows, level, "p99_ms", min)) for level in opened
    }
    said["int8_p99_over_best_peer"] = {
        level: _ratio(_median(rows, OURS_INT8.name, level, "p99_ms"), _best(rows, level, "p99_ms", min))
        for level in opened
    }
    return said


def disturbed(rows: Sequence[Row]) -> int:
    """Cells in which others were at work even after the last repetition."""
    return sum(row["others"] > DISTURBED for row in rows)


def _medians(cells: Sequence[Row]) -> Row:
    values: Row = {}
    for name in _NUMBERS:
        known = [cell[name] for cell in cells if cell.get(name) is not None]
        if known:
            values[name] = max(known) if name == "memory_mb" else round(statistics.median(known), 3)
    return {**values, "failed": sum(cell["failed"] for cell in cells), "rounds": len(cells)}


def _of_limit(cells: Sequence[Row], rows: Sequence[Row]) -> Row:
    share = _of(rows, cells[0]["contestant"], cells[0]["level"])
    return {} if share is None else {"of_limit": share}


def _of(rows: Sequence[Row], name: str, level: str) -> float | None:
    """Median over the rounds of throughput / that round's limit."""
    limits = {row["round"]: row["per_s"] for row in rows if row["contestant"] == LIMIT and row["level"] == level}
    shares = [
        row["per_s"] / limits[row["round"]]
        for row in rows
        if row["contestant"] == name and row["level"] == level and limits.get(row["round"])
    ]
    return round(statistics.median(shares), 3) if shares else None


def _best_of_limit(rows: Sequence[Row], level: str) -> float | None:
    shares = [share for peer in PEERS_FIELD if (share := _of(rows, peer.name, level)) is not None]
    return max(shares, default=None)


def _best(rows: Sequence[Row], level: str, number: str, choose: Any) -> float | None:
    medians = [value for peer in PEERS_FIELD if (value := _median(rows, peer.name, level, number)) is not None]
    return choose(medians) if medians else None


def _median(rows: Iterable[Row], name: str, level: str, number: str) -> float | None:
    found = [
        row[number]
        for row in rows
        if row["contestant"] == name and row["level"] == level and row.get(number) is not None
    ]
    return statistics.median(found) if found else None


def _ratio(ours: float | None, theirs: float | None) -> float | None:
    return round(ours / theirs, 3) if ours is not None and theirs else None
