"""The straight line that every row takes, as a person sees it in the progress display."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

Step = Literal["weights", "reference", "to ONNX", "optimise", "verify", "profile", "publish"]
STEPS: tuple[Step, ...] = get_args(Step)

# Told each step as it begins.
Say = Callable[[Step], None]
