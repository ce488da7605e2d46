"""Classify the pictures of a folder: `python classify_folder.py FOLDER`. One line a picture, surest first."""

import os
import sys
from pathlib import Path

from service.client import Client, PictureRefused

SERVER = os.environ.get("VISION_SERVER", "http://127.0.0.1:8080")
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def main(folder: Path) -> int:
    pictures = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    found = []
    # Nobody waits for one picture of a folder: the longest tier, and so the most accurate model.
    with Client(SERVER, tier="batch") as client:
        for path in pictures:
            try:
                answer = client.classify(path)
            except PictureRefused as err:
                print(f"{path.name}: {err.detail}", file=sys.stderr)
                continue
            found.append((answer.score, answer.label, path.name, answer.model.name))
    for score, label, name, model in sorted(found, reverse=True):
        print(f"{score:6.1%}  {label:20}  {name:20}  {model}")
    return 0 if len(found) == len(pictures) else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
