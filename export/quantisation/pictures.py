"""A folder of pictures → those to calibrate on and those to judge by, always the same split."""

from __future__ import annotations

import csv
from collections import Counter
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

    labels.csv, if there is one, has the columns `file` (a path in the folder, or a bare name that only one picture
    has) and `class_id`. If it misses a picture, none has a label. Raises ExportError for a file or name that is there
    twice.
    """
    files = picture_files(folder)
    pixels = np.stack([_pixels(file, source) for file in files])  # (N, H, W, 3)
    found = _classes(folder, files)
    classes = np.array(found, dtype=np.int64) if None not in found else None
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


def _classes(folder: Path, files: tuple[Path, ...]) -> list[int | None]:
    """Each picture's class: by its path in the folder, or by its bare name, where no other picture has it.

    Raises ExportError for a bare name that several pictures have.
    """
    known = _labels(folder / LABELS_FILE)
    times = Counter(file.name for file in files)
    classes = []
    for file in files:
        inside = file.relative_to(folder).as_posix()
        if inside not in known and file.name in known and times[file.name] > 1:
            raise ExportError(
                f"{folder / LABELS_FILE} says {file.name}, which {times[file.name]} pictures are called: "
                f"give paths, such as {inside}."
            )
        classes.append(known.get(inside, known.get(file.name)))
    return classes


def _labels(file: Path) -> dict[str, int]:
    """`file` as the table has it → class; empty without the table. Raises ExportError if it is not such a table."""
    if not file.is_file():
        return {}
    known: dict[str, int] = {}
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            for line in csv.DictReader(lines):
                name = Path(line["file"]).as_posix()
                if name in known:
                    raise ExportError(f"{file} has {name} twice.")
                known[name] = int(line["class_id"])
    except (KeyError, ValueError) as err:
        raise ExportError(f"{file} needs the columns file and class_id: {err}.") from err
    return known
