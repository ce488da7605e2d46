"""What calibration found: the range of every tensor that is quantised, and how good the result was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SHIPPED = Path(__file__).resolve().parent / "shipped"


@dataclass(frozen=True, slots=True)
class Measured:
    """The INT8 graph beside the FP32 graph, on pictures that it was not calibrated on.

    pictures        how many
    agreeing        of those, how many got the same top-1 class from both
    labelled        whether the next two mean anything
    fp32_right, int8_right      how many each of them got right
    by              what measured it: the runtime and the processor
    """

    pictures: int
    agreeing: int
    labelled: bool
    fp32_right: int
    int8_right: int
    by: str

    @property
    def agreement_percent(self) -> float:
        return 100 * self.agreeing / self.pictures

    @property
    def lost_points(self) -> float:
        """Top-1 lost, in percentage points; 0 where something was won. Without labels every change counts as lost."""
        lost = self.fp32_right - self.int8_right if self.labelled else self.pictures - self.agreeing
        return 100 * max(0, lost) / self.pictures


@dataclass(frozen=True, slots=True)
class TaskQuality:
    """An INT8 head beside its FP32 entry, on labelled pictures that neither training nor calibration saw.

    pictures    how many, and which, in words
    scores      (metric, FP32, INT8) in percent; the card's metric first, stricter ones after it
    by          what measured it: the runtime and the processor
    """

    pictures: str
    scores: tuple[tuple[str, float, float], ...]
    by: str

    @property
    def lost_points(self) -> float:
        """What the card's metric lost; 0 where something was won."""
        _, fp32_percent, int8_percent = self.scores[0]
        return max(0.0, fp32_percent - int8_percent)


@dataclass(frozen=True, slots=True)
class Ranges:
    """The ranges of one FP32 graph's tensors.

    weights_sha256, structure   the graph they belong to: its weights, and the digest of its operators
    pictures    what they were measured on, in words
    by_tensor   tensor → (least, largest) value
    """

    weights_sha256: str
    structure: str
    pictures: str
    by_tensor: Mapping[str, tuple[float, float]]
    measured: Measured | TaskQuality

    @property
    def identity(self) -> str:
        """Hex digest of what a quantised graph gets from here."""
        made_from = (self.weights_sha256, self.structure, sorted(self.by_tensor.items()), self.measured)
        return hashlib.sha256(repr(made_from).encode()).hexdigest()


def write_ranges(ranges: Ranges, file: Path) -> None:
    """One line a tensor, so that a change can be read."""
    text = json.dumps({**asdict(ranges), "by_tensor": {}}, indent=1)
    lines = ",\n".join(
        f'  "{name}": [{least:.7g}, {largest:.7g}]' for name, (least, largest) in sorted(ranges.by_tensor.items())
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text.replace('"by_tensor": {}', f'"by_tensor": {{\n{lines}\n }}') + "\n", encoding="utf-8")


def read_ranges(file: Path) -> Ranges:
    """What `write_ranges` wrote."""
    content = json.loads(file.read_text(encoding="utf-8"))
    by_tensor = {name: (float(least), float(largest)) for name, (least, largest) in content.pop("by_tensor").items()}
    return Ranges(**{**content, "by_tensor": by_tensor, "measured": _measured(content["measured"])})


def _measured(content: dict[str, Any]) -> Measured | TaskQuality:
    if "scores" not in content:
        return Measured(**content)
    return TaskQuality(**{**content, "scores": tuple((metric, *percent) for metric, *percent in content["scores"])})


def shipped_file(name: str) -> Path:
    return SHIPPED / f"{name}.json"


def shipped_ranges(name: str) -> Ranges | None:
    """The ranges that come with the project for the model of that name, if any do."""
    file = shipped_file(name)
    return read_ranges(file) if file.is_file() else None
