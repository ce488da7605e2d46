"""Where downloaded weights are kept between runs."""

from __future__ import annotations

import os
from pathlib import Path


def weights_folder() -> Path:
    """`$VISION_CACHE/weights`, else the user's cache folder; made if missing."""
    chosen = os.environ.get("VISION_CACHE")
    if chosen:
        folder = Path(chosen)
    else:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vision-gateway"
    folder /= "weights"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
