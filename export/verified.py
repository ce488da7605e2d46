"""A graph that has passed every gate, and what it was judged by."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from export.reference import Reference
from export.verify import Results
from service.manifest import TensorSpec


@dataclass(frozen=True, slots=True)
class Verified:
    """module: what was exported; outputs: what the card promises; results: (gate, what was measured)."""

    module: nn.Module
    reference: Reference
    outputs: tuple[TensorSpec, ...]
    results: Results
