"""The steps of an export as a person sees them in the progress display; some of them only for variants and plans."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

_Always = Literal["weights", "reference", "to ONNX", "optimise", "verify", "profile", "publish"]
_Sometimes = Literal["calibrate", "quantise", "to FP16", "build plan"]
Step = _Always | _Sometimes
STEPS: tuple[Step, ...] = (*get_args(_Always)[:4], *get_args(_Sometimes), *get_args(_Always)[4:])

# Told each step as it begins.
Say = Callable[[Step], None]
