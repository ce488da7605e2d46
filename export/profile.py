"""How long an exported graph takes on this device, by batch, and the work it does."""

from __future__ import annotations

import platform
import statistics
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from service.manifest import INPUT_NAME, Profile

BATCHES = (1, 2, 4, 8)
WARM_UP_RUNS = 3
FEWEST_RUNS = 5
MOST_RUNS = 30
SECONDS_PER_BATCH = 1.0
LONG_RUN_S = 2.0
# The embedded engine gives every model one thread per worker, so this is what a request will see.
THREADS = 1


def profile(onnx_file: Path, pixels: NDArray[np.uint8]) -> Profile:
    """Median latency by batch, and the line alpha_ms + beta_ms · batch through it. `pixels`: (N, H, W, 3), repeated."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.inter_op_num_threads = 1
    session = ort.InferenceSession(onnx_file, options, providers=["CPUExecutionProvider"])
    batches = ((batch, np.resize(pixels, (batch, *pixels.shape[1:]))) for batch in BATCHES)
    p50_ms = tuple((batch, round(_median_ms(session, repeated), 3)) for batch, repeated in batches)
    alpha_ms, beta_ms = fit_line(p50_ms)
    return Profile(device(), round(alpha_ms, 3), round(beta_ms, 3), p50_ms)


def device() -> str:
    """What a profile was measured on and with."""
    return f"{_processor()}, onnxruntime {ort.__version__}, {THREADS} thread"


def _median_ms(session: ort.InferenceSession, pixels: NDArray[np.uint8]) -> float:
    feed = {INPUT_NAME: pixels}
    start_s = time.perf_counter()
    session.run(None, feed)
    if time.perf_counter() - start_s > LONG_RUN_S:  # nothing is left to warm up, and chance is small beside it
        start_s = time.perf_counter()
        session.run(None, feed)
        return 1000 * (time.perf_counter() - start_s)
    for _ in range(WARM_UP_RUNS - 1):
        session.run(None, feed)
    taken_s: list[float] = []
    while len(taken_s) < FEWEST_RUNS or (len(taken_s) < MOST_RUNS and sum(taken_s) < SECONDS_PER_BATCH):
        start_s = time.perf_counter()
        session.run(None, feed)
        taken_s.append(time.perf_counter() - start_s)
    return 1000 * statistics.median(taken_s)


def fit_line(p50_ms: tuple[tuple[int, float], ...]) -> tuple[float, float]:
    """(alpha_ms ≥ 0, beta_ms > 0) of the least-squares line through (batch, ms)."""
    batch = np.array([b for b, _ in p50_ms], dtype=np.float64)
    took_ms = np.array([ms for _, ms in p50_ms], dtype=np.float64)
    slope, intercept = np.polyfit(batch, took_ms, 1)
    if intercept < 0:  # the best line that starts at nothing
        return 0.0, float(batch @ took_ms / (batch @ batch))
    if slope <= 0:  # noise larger than the work: no cost per picture can be told
        return float(took_ms.mean()), 0.001
    return float(intercept), float(slope)


def count_flops(module: nn.Module, size_hw: tuple[int, int]) -> int:
    """Floating-point operations for one picture in convolutions and matrix products; a multiply-add counts as two."""
    counter = FlopCounterMode(display=False)
    with counter, torch.inference_mode():
        module(torch.zeros((1, *size_hw, 3), dtype=torch.uint8))
    return int(counter.get_total_flops())


def _processor() -> str:
    """The CPU's model name, as the operating system knows it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
