"""Where pictures, caches and shipped heads lie; nothing here is an absolute path."""

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
HEADS = Path(__file__).resolve().parent / "heads"


def cache_folder(*parts: str) -> Path:
    """A folder below `.cache/starter/` (git-ignored), created when missing."""
    folder = REPOSITORY.joinpath(".cache", "starter", *parts)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def pictures_folder(given: Path | None = None) -> Path:
    """The training pictures: `given`, else $VISION_DATA, else `../shared/data` beside the repository.

    Raises FileNotFoundError when there is no such folder.
    """
    folder = given or Path(os.environ.get("VISION_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        raise FileNotFoundError(f"no pictures at {folder}: give --data DIR or set VISION_DATA")
    return folder
