"""The pictures that are sent, and what is really on them."""

from __future__ import annotations

import csv
from dataclasses import dataclass

from benchmarks.arrivals import data_folder


@dataclass(frozen=True, slots=True)
class Photograph:
    jpeg: bytes
    class_id: int


def photographs() -> list[Photograph]:
    """200 photographs with their ImageNet class. Raises FileNotFoundError where they are absent."""
    folder = data_folder() / "imagenet"
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    return [Photograph((folder / "images" / row["file"]).read_bytes(), int(row["class_id"])) for row in rows]
