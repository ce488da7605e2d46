"""Two graphs timed against each other: turn by turn, so that whatever else the machine does hits both."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from service.manifest import INPUT_NAME

WARM_UP_RUNS = 3
FEWEST_PAIRS = 9
# Where one run takes this long there is nothing left to warm up, and chance is small beside it.
LONG_RUN_MS, FEWEST_LONG_PAIRS = 150.0, 3


@dataclass(frozen=True, slots=True)
class Paired:
    """Medians in milliseconds, and the median over the pairs of first / second: above 1 the second is faster."""

    first_ms: float
    second_ms: float
    ratio: float
    pairs: int


class Pair:
    """The two graphs, loaded once."""

    def __init__(self, first: Path, second: Path) -> None:
        self._sessions = (one_thread_session(first), one_thread_session(second))

    def time(self, pixels: NDArray[np.uint8], seconds: float) -> Paired:
        """Both on the batch (N, H, W, 3), on one thread, for about that many seconds."""
        first, second = self._sessions
        slow = max(_run_ms(session, pixels) for session in self._sessions) > LONG_RUN_MS
        for session in () if slow else self._sessions * (WARM_UP_RUNS - 1):
            _run_ms(session, pixels)
        fewest = FEWEST_LONG_PAIRS if slow else FEWEST_PAIRS
        taken_ms: list[tuple[float, float]] = []
        end_s = time.perf_counter() + seconds
        while len(taken_ms) < fewest or time.perf_counter() < end_s:
            if len(taken_ms) % 2:
                second_ms = _run_ms(second, pixels)
                taken_ms.append((_run_ms(first, pixels), second_ms))
            else:
                taken_ms.append((_run_ms(first, pixels), _run_ms(second, pixels)))
        return Paired(
            first_ms=statistics.median(first_ms for first_ms, _ in taken_ms),
            second_ms=statistics.median(second_ms for _, second_ms in taken_ms),
            ratio=statistics.median(first_ms / second_ms for first_ms, second_ms in taken_ms),
            pairs=len(taken_ms),
        )


def one_thread_session(onnx_file: Path) -> ort.InferenceSession:
    """A session as the embedded engine's workers have it."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return ort.InferenceSession(onnx_file, options, providers=["CPUExecutionProvider"])


def time_in_pairs(first: Path, second: Path, pixels: NDArray[np.uint8], seconds: float) -> Paired:
    """Both graphs on the batch (N, H, W, 3), on one thread, for about that many seconds."""
    return Pair(first, second).time(pixels, seconds)


def _run_ms(session: ort.InferenceSession, pixels: NDArray[np.uint8]) -> float:
    start_s = time.perf_counter()
    session.run(None, {INPUT_NAME: pixels})
    return 1000 * (time.perf_counter() - start_s)
