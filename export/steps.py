"""The steps of an export as a person sees them in the progress display; two of them only for INT8."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

Step = Literal["weights", "reference", "to ONNX", "optimise", "calibrate", "quantise", "verify", "profile", "publish"]
STEPS: tuple[Step, ...] = get_args(Step)

# Told each step as it begins.
Say = Callable[[Step], None]
