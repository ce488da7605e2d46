"""Which files of a folder are its pictures. Nothing here looks inside them: it must be quick to import and to ask."""

from __future__ import annotations

import hashlib
from pathlib import Path

from export.errors import ExportError
from service.entry_files import file_sha256

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
LABELS_FILE = "labels.csv"
FEWEST = 60
MOST = 600


class TooFewPictures(ExportError):
    """The folder cannot calibrate anything."""


def picture_files(folder: Path) -> tuple[Path, ...]:
    """The pictures in the folder and below, in order of name. Raises TooFewPictures."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if len(files) < FEWEST:
        raise TooFewPictures(f"{folder} has {len(files)} pictures; calibrating takes {FEWEST} or more.")
    return tuple(files[:MOST])


def pictures_identity(folder: Path) -> str:
    """Hex digest of the pictures' and the labels' content. Raises TooFewPictures."""
    contents = [file_sha256(file) for file in picture_files(folder)]
    labels = folder / LABELS_FILE
    return hashlib.sha256(repr((contents, labels.is_file() and file_sha256(labels))).encode()).hexdigest()
