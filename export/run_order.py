"""Which row `vision-export --all` begins next, and how much memory all of those that run have together."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from export.catalogue.row import Row
from export.run_table import Run

_PAGE_BYTES = 4096


def smallest_first(rows: Iterable[Row]) -> list[Row]:
    """By parameters times pixels: most rows are done before the few that take most of the time."""

    def work(row: Row) -> float:
        height_px, width_px = row.resize.size_hw
        # Image GPT puts every weight to work on every pixel; most of a convolutional network's see a few dozen places.
        return row.params_millions * height_px * width_px * (500 if row.family == "Image GPT" else 1)

    return sorted(rows, key=work)


def expected_bytes(row: Row, runs: Mapping[str, Run]) -> float:
    """What the row's process will need at most: what it needed when it last passed, or a straight line through what
    the 278 rows of docs/catalogue-run.md needed (half of them within 0.14 GB, the worst 3.4 GB too low)."""
    known = runs.get(row.name)
    if known is not None and known.state == "passed":
        return known.peak_mb * 1e6
    height_px, width_px = row.resize.size_hw
    return 1.0e9 + 20.6 * row.params_millions * 1e6 + 4900 * height_px * width_px


class Waiting:
    """Rows that have not begun.

    One at a time they are taken smallest first. Where several run at the same time, one of them comes from the large
    end: large and small together fit the memory, and at the end no core rests beside a few large rows that do not fit
    next to each other. No row begins beside others if they are expected to take more than `most_bytes` (0: no bound).
    """

    def __init__(self, rows: Iterable[Row], runs: Mapping[str, Run], jobs: int, most_bytes: float) -> None:
        self._rows = deque(smallest_first(rows))
        self._expected = {row.name: expected_bytes(row, runs) for row in self._rows}
        self._jobs = jobs
        self._most_bytes = most_bytes or float("inf")
        self._from_large_end: set[str] = set()

    def __len__(self) -> int:
        return len(self._rows)

    def next(self, running: Collection[Row]) -> Row | None:
        """The row to begin beside `running`, which then waits no more. None: nothing waits, or nothing fits now."""
        if not self._rows:
            return None
        large_end = self._jobs > 1 and not any(row.name in self._from_large_end for row in running)
        if large_end and self._fits(self._rows[-1], running):
            self._from_large_end.add(self._rows[-1].name)
            return self._rows.pop()
        return self._rows.popleft() if self._fits(self._rows[0], running) else None

    def _fits(self, row: Row, running: Collection[Row]) -> bool:
        # Alone, a row has its own bound, which is for its process to keep.
        return not running or sum(self._expected[one.name] for one in (*running, row)) <= self._most_bytes


class Together:
    """Most memory that the children had at the same time, as far as it was looked at. For threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now_bytes: dict[int, int] = {}
        self.most_bytes = 0

    def look_at(self, pid: int) -> None:
        """Reads how much of the process is in memory; libraries that processes share count in each."""
        try:
            pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
        except (OSError, IndexError):
            pages = 0
        with self._lock:
            self._now_bytes[pid] = pages * _PAGE_BYTES
            self.most_bytes = max(self.most_bytes, sum(self._now_bytes.values()))

    def forget(self, pid: int) -> None:
        """The process has ended."""
        with self._lock:
            self._now_bytes.pop(pid, None)
