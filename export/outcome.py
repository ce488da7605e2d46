"""What a run is asked for, and what became of each entry."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from export.cache import engines_folder
from export.sources import Choice
from service.manifest import Device, ModelCard

State = Literal["exported", "up to date", "skipped", "not published", "failed"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What holds for every row of a run.

    int8            names of rows that must also get an INT8 variant
    int8_offered    names of rows that get one if it passes its gates
    calibration     folder of pictures for INT8; None: the ranges that ship with the project
    fp16            names of rows that must also get an FP16 variant
    device          what config.pbtxt is written for; None: left as it is
    tensorrt        True: a plan for every entry; False: back to ONNX Runtime; None: left as it is
    engines         folder of the plans that this host built
    """

    repository: Path
    weights: Choice
    force: bool
    int8: frozenset[str] = frozenset()
    int8_offered: frozenset[str] = frozenset()
    calibration: Path | None = None
    fp16: frozenset[str] = frozenset()
    device: Device | None = None
    tensorrt: bool | None = None
    engines: Path = field(default_factory=engines_folder)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one entry. `card` is there if the entry is; `command` repeats this one export."""

    name: str
    state: State
    seconds: float
    reason: str
    command: str
    card: ModelCard | None = None

    def __str__(self) -> str:
        return f"{self.name}: {self.state}" + (f": {self.reason}" if self.reason else f" ({self.seconds:.1f} s)")
