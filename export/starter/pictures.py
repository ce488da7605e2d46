"""The labelled pictures and how they are split; nothing is decoded before it is asked for."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]

NOBODY = 0
CROWD = 255  # people nobody told apart: neither found nor missed
HELD_OUT_EVERY = 5  # of Penn-Fudan, in the order of file names: pictures 4, 9, 14, … (counted from 0)
VOID = 11  # CamVid's unlabelled pixels


@dataclass(frozen=True)
class PeoplePicture:
    """One photograph; `mask` yields an (H, W) uint8 map: 0 nobody, k the k-th person, 255 a crowd."""

    image: Path
    mask: Path
    people: tuple[int, ...]  # values in the mask file, first person first
    crowds: tuple[int, ...] = ()

    def read_image(self) -> Pixels:
        """(H, W, 3) uint8 RGB."""
        return np.asarray(Image.open(self.image).convert("RGB"))

    def read_people(self) -> Pixels:
        """(H, W) uint8: 0 nobody, 1..len(people), 255 crowd."""
        if not self.people and not self.crowds:
            with Image.open(self.image) as image:
                return np.zeros((image.height, image.width), np.uint8)
        raw = np.asarray(Image.open(self.mask)).astype(np.int64)
        if raw.ndim == 3:  # COCO panoptic: id = R + 256 G + 65536 B
            raw = raw[..., 0] + 256 * raw[..., 1] + 65536 * raw[..., 2]  # (H, W)
        people = np.zeros(raw.shape, np.uint8)
        for index, value in enumerate(self.people, start=1):
            people[raw == value] = index
        people[np.isin(raw, self.crowds)] = CROWD
        return people


@dataclass(frozen=True)
class ScenePicture:
    """One CamVid frame and its class map, (360, 480) uint8 in 0..11."""

    image: Path
    mask: Path

    def read_image(self) -> Pixels:
        """(H, W, 3) uint8 RGB."""
        return np.asarray(Image.open(self.image).convert("RGB"))

    def read_classes(self) -> Pixels:
        """(H, W) uint8, class index; 11 is void."""
        return np.asarray(Image.open(self.mask))


def penn_fudan(folder: Path) -> tuple[list[PeoplePicture], list[PeoplePicture]]:
    """(train, held out): by file name order every fifth picture is held out."""
    listing = json.loads((folder / "pennfudan" / "annotations.json").read_text())
    train: list[PeoplePicture] = []
    held_out: list[PeoplePicture] = []
    for index, entry in enumerate(sorted(listing["images"], key=lambda entry: str(entry["file_name"]))):
        people = [a["mask_value"] for a in listing["annotations"] if a["image_id"] == entry["id"]]
        picture = PeoplePicture(
            folder / "pennfudan" / "images" / entry["file_name"],
            folder / "pennfudan" / "masks" / entry["mask"],
            tuple(sorted(people)),
        )
        (held_out if index % HELD_OUT_EVERY == HELD_OUT_EVERY - 1 else train).append(picture)
    return train, held_out


def coco_people(folder: Path) -> list[PeoplePicture]:
    """coco128 with its people (and crowds of people) from the panoptic labels; half have nobody in them."""
    listing = json.loads((folder / "coco128/panoptic_segmentation/panoptic_train2017.json").read_text())
    person = next(c["id"] for c in listing["categories"] if c["name"] == "person")
    pictures = []
    for entry in sorted(listing["annotations"], key=lambda entry: str(entry["file_name"])):
        segments = [s for s in entry["segments_info"] if s["category_id"] == person]
        pictures.append(
            PeoplePicture(
                folder / "coco128/images" / Path(entry["file_name"]).with_suffix(".jpg").name,
                folder / "coco128/panoptic_segmentation/panoptic_train2017" / entry["file_name"],
                tuple(s["id"] for s in segments if not s["iscrowd"]),
                tuple(s["id"] for s in segments if s["iscrowd"]),
            )
        )
    return pictures


def camvid(folder: Path, split: str) -> list[ScenePicture]:
    """CamVid's frames of `train` (367) or `val` (101), in the order of file names."""
    images = sorted((folder / "camvid" / split / "images").iterdir())
    return [ScenePicture(p, folder / "camvid" / split / "masks" / f"{p.stem}.png") for p in images]


def camvid_classes(folder: Path) -> list[str]:
    """The 11 class names in class order, without void."""
    names: list[str] = json.loads((folder / "camvid" / "classes.json").read_text())
    return names[:VOID]
