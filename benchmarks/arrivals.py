"""When requests arrive: Poisson, gamma gaps of any burstiness, and two real services, squeezed to a wanted mean rate.

Every process gives exactly `rate_per_s · duration_s` arrivals within the duration: cells that say "70 %" offer 70 %.
"""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.float64]

_ROOT = Path(__file__).resolve().parents[1]
_TRACE_FILE = "traces/AzureLLMInferenceTrace_{}.csv"

# Squared coefficient of variation of the gaps; 1 is Poisson.
GAMMA_CV2 = {"poisson": 1.0, "gamma-4": 4.0, "gamma-16": 16.0, "gamma-64": 64.0}
TRACES = {"trace-conv": "conv", "trace-code": "code"}
PROCESSES = (*GAMMA_CV2, *TRACES)


@dataclass(frozen=True, slots=True)
class Arrivals:
    """times_s  (N,) ascending, from 0     squeezed  how many times faster than recorded; 1.0 for made-up arrivals"""

    process: str
    times_s: Times
    duration_s: float
    squeezed: float = 1.0

    @property
    def cv2(self) -> float:
        """Squared coefficient of variation of the gaps, as they came out."""
        gaps = np.diff(self.times_s)
        return float(gaps.var() / gaps.mean() ** 2)


def arrivals(process: str, rate_per_s: float, duration_s: float, seed: int = 0) -> Arrivals:
    """That many arrivals a second on average, for that long. Raises FileNotFoundError where the trace is absent."""
    count = max(2, round(rate_per_s * duration_s))
    if process in GAMMA_CV2:
        return Arrivals(process, _gamma(GAMMA_CV2[process], count, duration_s, seed), duration_s)
    return _trace(process, count, duration_s, seed)


def data_folder() -> Path:
    """Where the recorded traces and the pictures are kept, beside the repository or at $VISION_DATA."""
    return Path(os.environ.get("VISION_DATA", _ROOT.parent / "shared" / "data"))


def missing(process: str) -> str | None:
    """Why that process cannot be replayed here, in one line; None if it can."""
    if process in TRACES and not _trace_path(process).is_file():
        return f"{process}: skipped, {_TRACE_FILE.format(TRACES[process])} is not in $VISION_DATA"
    return None


def _gamma(cv2: float, count: int, duration_s: float, seed: int) -> Times:
    """Gaps of shape 1/cv2; the sequence is stretched so that `count` arrivals fill the duration exactly."""
    gaps = np.random.default_rng(seed).gamma(1.0 / cv2, size=count + 1)
    times = np.cumsum(gaps)
    return np.asarray(times[:-1] / times[-1] * duration_s)


def _trace(process: str, count: int, duration_s: float, seed: int) -> Arrivals:
    """`count` arrivals in a row, from a place that the seed picks; the recording is repeated if it is too short."""
    recorded = _recorded_s(_trace_path(process))
    repeats = count // len(recorded) + 2
    period_s = recorded[-1] + recorded[-1] / len(recorded)
    endless = np.concatenate([recorded + i * period_s for i in range(repeats)])
    first = int(np.random.default_rng(seed).integers(len(recorded)))
    window = endless[first : first + count + 1] - endless[first]
    squeezed = float(window[-1]) / duration_s
    return Arrivals(process, window[:-1] / squeezed, duration_s, squeezed)


def _trace_path(process: str) -> Path:
    return data_folder() / _TRACE_FILE.format(TRACES[process])


@cache
def _recorded_s(path: Path) -> Times:
    """(N,) seconds since the first arrival of a CSV with a TIMESTAMP column of 100 ns steps."""
    with path.open(newline="", encoding="utf-8") as lines:
        stamps = [datetime.fromisoformat(row["TIMESTAMP"][:26]).timestamp() for row in csv.DictReader(lines)]
    times = np.sort(np.array(stamps))
    return np.asarray(times - times[0])
