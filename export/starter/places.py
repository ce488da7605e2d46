"""Where pictures and shipped heads lie; nothing here is an absolute path."""

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
HEADS = Path(__file__).resolve().parent / "heads"


def pictures_folder(given: Path | None = None) -> Path:
    """The training pictures, pennfudan/, coco128/ and camvid/: `given`, else $VISION_DATA.

    Raises FileNotFoundError, whose sentence says what to give, where neither is a folder.
    """
    named = given or os.environ.get("VISION_DATA")
    wanted = "give --data DIR or set VISION_DATA, a folder with pennfudan/, coco128/ and camvid/"
    if not named:
        raise FileNotFoundError(f"where the pictures are is not said: {wanted}")
    if not Path(named).is_dir():
        raise FileNotFoundError(f"no pictures at {named}: {wanted}")
    return Path(named)
