"""A folder of pictures → those to calibrate on and those to judge by, always the same split."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from export.errors import ExportError
from export.quantisation.picture_folder import LABELS_FILE, picture_files
from export.upstream import Upstream

# One in three calibrates; ranges hardly move after a few dozen pictures, and the verdict wants the others.
CALIBRATING = 3


@dataclass(frozen=True, slots=True)
class Half:
    """pixels (N, H, W, 3) uint8; classes (N,) int64, or None where the folder has no labels."""

    pixels: NDArray[np.uint8]
    classes: NDArray[np.int64] | None


@dataclass(frozen=True, slots=True)
class Pictures:
    """Every third picture calibrates, the others judge: no picture does both."""

    calibrating: Half
    judging: Half

    @property
    def count(self) -> int:
        return len(self.calibrating.pixels) + len(self.judging.pixels)


def read_pictures(folder: Path, source: Upstream) -> Pictures:
    """The folder's pictures as the library's own transform makes them. Raises TooFewPictures.

    labels.csv, if there is one, has the columns `file` and `class_id`. If it misses a picture, none has a label.
    """
    files = picture_files(folder)
    pixels = np.stack([_pixels(file, source) for file in files])  # (N, H, W, 3)
    known = _labels(folder / LABELS_FILE)
    labelled = all(file.name in known for file in files)
    classes = np.array([known[file.name] for file in files], dtype=np.int64) if labelled else None
    calibrates = np.arange(len(files)) % CALIBRATING == 0
    return Pictures(
        *(Half(pixels[part], None if classes is None else classes[part]) for part in (calibrates, ~calibrates))
    )


def _pixels(file: Path, source: Upstream) -> NDArray[np.uint8]:
    try:
        with Image.open(file) as picture:
            return source.pixels(picture.convert("RGB"))
    except (OSError, UnidentifiedImageError) as err:
        raise ExportError(f"{file} cannot be read as a picture: {err}.") from err


def _labels(file: Path) -> dict[str, int]:
    """File name → class; empty without the file. Raises ExportError if it is not such a table."""
    if not file.is_file():
        return {}
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            return {Path(line["file"]).name: int(line["class_id"]) for line in csv.DictReader(lines)}
    except (KeyError, ValueError) as err:
        raise ExportError(f"{file} needs the columns file and class_id: {err}.") from err
