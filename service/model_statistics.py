"""What each model has done since the gateway started, as Triton counts it: requests, rows, runs, nanoseconds."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field


@dataclass
class Span:
    """How often something happened, and how long it took in all."""

    count: int = 0
    ms: float = 0.0

    def add(self, ms: float) -> None:
        self.count += 1
        self.ms += ms


@dataclass
class Runs:
    """Runs with one number of rows. `runs` is a fraction until everybody who shared a run has been counted."""

    runs: float = 0.0
    infer_ms: float = 0.0


@dataclass
class Record:
    """One model's. `input` is making tensors of the request, `output` making the answer of tensors."""

    success: Span = field(default_factory=Span)
    fail: Span = field(default_factory=Span)
    queue: Span = field(default_factory=Span)
    input: Span = field(default_factory=Span)
    infer: Span = field(default_factory=Span)
    output: Span = field(default_factory=Span)
    rows: int = 0
    by_batch: dict[int, Runs] = field(default_factory=lambda: defaultdict(Runs))
    last_unix_ms: int = 0

    @property
    def runs(self) -> float:
        return sum(batch.runs for batch in self.by_batch.values())


class ModelStatistics:
    """A record for every model that was ever asked."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = defaultdict(Record)

    def of(self, name: str) -> Record:
        """The model's record; an empty one if it was never asked."""
        return self._records[name] if name in self._records else Record()

    def ran(self, name: str, *, rows: int, batch_rows: int, infer_ms: float) -> None:
        """One request's share of a run of `batch_rows` rows."""
        record = self._records[name]
        record.rows += rows
        record.last_unix_ms = int(time.time() * 1e3)
        batch = record.by_batch[batch_rows]
        batch.runs += rows / batch_rows
        batch.infer_ms += infer_ms * rows / batch_rows

    def answered(self, name: str, *, input_ms: float, queue_ms: float, infer_ms: float, output_ms: float) -> None:
        """One request, from its first byte on a worker to its answer."""
        record = self._records[name]
        record.input.add(input_ms)
        record.queue.add(queue_ms)
        record.infer.add(infer_ms)
        record.output.add(output_ms)
        record.success.add(input_ms + queue_ms + infer_ms + output_ms)

    def failed(self, name: str, ms: float) -> None:
        """One request that the engine refused or lost after so long."""
        self._records[name].fail.add(ms)
