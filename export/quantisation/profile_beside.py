"""A variant's profile, measured beside its FP32 entry, so that the two can be compared whenever each was measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.profile import device, fit_line, profile
from export.quantisation.paired import Pair
from service.manifest import Profile

SECONDS_PER_BATCH = 0.5


def profile_beside(fp32: Profile | None, fp32_file: Path, int8_file: Path, pixels: NDArray[np.uint8]) -> Profile:
    """FP32's profile divided by how much faster the variant runs, batch by batch, the two run in turns.

    A router that weighs one against the other wants their ratio right; a plain measurement on a busier day than
    FP32's would get it wrong. Measured plainly if FP32's profile is not of this device.
    """
    if fp32 is None or fp32.device != device():
        return profile(int8_file, pixels)
    pair, p50_ms = Pair(fp32_file, int8_file), []
    for batch, fp32_ms in fp32.p50_ms_by_batch:
        repeated = np.resize(pixels, (batch, *pixels.shape[1:]))
        ratio = pair.time(repeated, SECONDS_PER_BATCH).ratio
        p50_ms.append((batch, round(fp32_ms / ratio, 3)))
    alpha_ms, beta_ms = fit_line(tuple(p50_ms))
    return Profile(fp32.device, round(alpha_ms, 3), round(beta_ms, 3), tuple(p50_ms))
