"""Data sets on disk → pictures with their truth. Nothing is decoded before it is asked for.

classify   `labels.csv` with the columns file and class_id; pictures in `images/`
detect     COCO: `annotations.json` (or another file, as COCO's own `instances_*.json`), pictures in `images/`
segment    kind instance: the same. An annotation with `mask_value` and no `segmentation` has its mask in the PNG of
           its image's `mask`, in `masks/`: the pixels of that value
           kind semantic: `images/`, and `masks/` of the same names as PNG, a class id a pixel; `classes.json`, there or
           one folder up, lists the names by id; one named void is not counted
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Item = TypeVar("Item")

VOID = "void"


class DatasetError(Exception):
    """What is wrong with the data set, in one sentence."""


@dataclass(frozen=True, slots=True)
class Part:
    """Every `of`-th picture in the order of file names, beginning with the `number`-th (from 1)."""

    number: int = 1
    of: int = 1

    def of_list(self, items: list[Item]) -> list[Item]:
        """The part's items. Raises DatasetError if there is none."""
        mine = items[self.number - 1 :: self.of]
        if not mine:
            raise DatasetError(f"of {len(items)} pictures, {self.number}/{self.of} are none")
        return mine


def parse_part(text: str) -> Part:
    """`5/5` → the 5th, 10th, … picture. Raises ValueError for anything that is no such part."""
    number, slash, of = text.partition("/")
    part = Part(int(number), int(of)) if slash else Part(0, 0)
    if not 1 <= part.number <= part.of:
        raise ValueError(f"{text!r} is no part like 5/5 or 1/10")
    return part


# --- classify


def labelled(folder: Path, part: Part) -> list[tuple[Path, int]]:
    """(picture, class id), by file name."""
    with _existing(folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["file"])
    return [(folder / "images" / row["file"], int(row["class_id"])) for row in part.of_list(rows)]


# --- detect, segment into things


@dataclass(frozen=True, slots=True)
class Things:
    """A COCO document of the part, and the picture of each of its images by id."""

    document: dict[str, Any]
    pictures: dict[int, Path]


def things(folder: Path, annotations: str, part: Part) -> Things:
    """The part's images with their annotations, each with `segmentation` (where there is one), `area` and `bbox`."""
    document = json.loads(_existing(folder / annotations).read_text(encoding="utf-8"))
    images = part.of_list(sorted(document["images"], key=lambda image: str(image["file_name"])))
    by_id = {image["id"]: image for image in images}
    mine = [a for a in document["annotations"] if a["image_id"] in by_id]
    annotated = [_with_mask(folder, by_id[a["image_id"]], a) for a in mine]
    whole = {**document, "info": {}, "images": images, "annotations": annotated}
    return Things(whole, {image["id"]: folder / "images" / image["file_name"] for image in images})


def _with_mask(folder: Path, image: dict[str, Any], annotation: dict[str, Any]) -> dict[str, Any]:
    if "segmentation" in annotation or "mask_value" not in annotation:
        return {"iscrowd": 0, **annotation}
    from pycocotools import mask as rle  # of the extra [eval]; __main__ has made sure of it

    values = np.asarray(Image.open(_existing(folder / "masks" / image["mask"])))
    encoded = rle.encode(np.asfortranarray((values == annotation["mask_value"]).astype(np.uint8)))
    box = rle.toBbox(encoded).tolist()
    return {"iscrowd": 0, **annotation, "segmentation": encoded, "area": float(rle.area(encoded)), "bbox": box}


# --- segment into classes


@dataclass(frozen=True, slots=True)
class Scenes:
    """(picture, its map) by file name; the names of the map's values, by value, void among them: it is not counted."""

    pictures: list[tuple[Path, Path]]
    names: list[str]

    def truth(self, mask: Path) -> NDArray[np.int64]:
        """(H, W): class ids; that of void and those beyond `names` are not counted."""
        return np.asarray(Image.open(mask)).astype(np.int64)


def scenes(folder: Path, part: Part) -> Scenes:
    """The part's pictures, each with a map."""
    listing = next((path for path in (folder / "classes.json", folder.parent / "classes.json") if path.is_file()), None)
    names: list[str] = json.loads(_existing(listing or folder / "classes.json").read_text(encoding="utf-8"))
    pictures = part.of_list(sorted(_existing(folder / "images").iterdir()))
    pairs = [(path, folder / "masks" / f"{path.stem}.png") for path in pictures]
    return Scenes(pairs, names)


def _existing(path: Path) -> Path:
    if not path.exists():
        raise DatasetError(f"there is no {path}")
    return path
