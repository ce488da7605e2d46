"""`--overlay DIR`: each picture with its result drawn on it, under its own name and in its own format."""

from __future__ import annotations

import os
from pathlib import Path

from service.cli.pictures import PictureFile
from service.client import Classification, Detections, Segmentation

_FORMATS = {".png": "PNG", ".webp": "WEBP"}
_QUALITY = {"JPEG": {"quality": 90}, "PNG": {"compress_level": 1}, "WEBP": {"quality": 90}}


def write_overlay(result: Classification | Detections | Segmentation, picture: PictureFile, folder: Path) -> Path:
    """The file that was written, whole or not at all. Raises OSError.

    A picture whose name says neither PNG nor WebP becomes a JPEG.
    """
    target = folder / picture.inside
    target.parent.mkdir(parents=True, exist_ok=True)
    image_format = _FORMATS.get(target.suffix.lower(), "JPEG")
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        result.overlay().save(draft, image_format, **_QUALITY[image_format])
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    return target
