"""What is kept between runs: downloaded weights, the plans that TensorRT built, features that heads are trained on."""

from __future__ import annotations

import os
from pathlib import Path


def weights_folder() -> Path:
    """`$VISION_CACHE/weights`, else the user's cache folder; made if missing."""
    folder = _cache_folder() / "weights"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def engines_folder() -> Path:
    """`$VISION_CACHE/engines`, else the user's cache folder. Not where Triton may write: a plan is code."""
    return _cache_folder() / "engines"


def training_folder(name: str) -> Path:
    """What training the starter heads keeps under that name; made if missing."""
    folder = _cache_folder() / "starter" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _cache_folder() -> Path:
    chosen = os.environ.get("VISION_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vision-gateway"
