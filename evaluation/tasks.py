"""One task on one data set: pictures through the gateway, answers beside the truth, scores."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from rich.console import Console

from evaluation.client import Gateway, Run
from evaluation.samples import DatasetError, Part, labelled, scenes, things
from evaluation.scores import Overlap, average_precision


@dataclass(frozen=True, slots=True)
class Report:
    """Scores in percent, over how many pictures, and what was learnt on the way."""

    scores: dict[str, float]
    pictures: int
    run: Run


def classify(gateway: Gateway, folder: Path, part: Part, console: Console) -> Report:
    """Top-1."""
    samples = labelled(folder, part)
    right: list[bool] = []

    def take(class_id: int, answer: dict[str, Any]) -> None:
        right.append(answer["predictions"][0]["class_id"] == class_id)

    asking = replace(gateway, query={**gateway.query, "top_k": "1"})
    run = asking.ask("classify", [(class_id, picture) for picture, class_id in samples], take, console)
    return Report({"top-1": 100 * float(np.mean(right))}, len(samples), run)


def find_things(
    gateway: Gateway, folder: Path, annotations: str, part: Part, task: Literal["detect", "segment"], console: Console
) -> Report:
    """COCO's average precision of boxes, and of masks if the task is to segment."""
    truth = things(folder, annotations, part)
    categories = {str(category["name"]).lower(): category["id"] for category in truth.document["categories"]}
    found: list[dict[str, Any]] = []

    def take(image_id: int, answer: dict[str, Any]) -> None:
        for thing in answer["predictions"]:
            category = categories.get(thing["label"].lower())
            if category is not None:  # the data set does not label such things, so nobody can tell if they are there
                found.append(_result(image_id, category, thing))

    # Everything the model says, however unsure: the curve needs its end too.
    query = {**gateway.query, "score_threshold": "0", "max_detections": "100"}
    asking = replace(gateway, query={**query, "kind": "instance"} if task == "segment" else query)
    run = asking.ask(task, list(truth.pictures.items()), take, console)
    scores = {f"box {name}": value for name, value in average_precision(truth.document, found, "bbox").items()}
    if task == "segment":
        masks = [{name: value for name, value in thing.items() if name != "bbox"} for thing in found]
        by_mask = average_precision(truth.document, masks, "segm")
        scores |= {f"mask {name}": value for name, value in by_mask.items()}
    return Report(scores, len(truth.pictures), run)


def _result(image_id: int, category: int, thing: dict[str, Any]) -> dict[str, Any]:
    box = thing["box"]
    bbox = [box["xmin"], box["ymin"], box["xmax"] - box["xmin"], box["ymax"] - box["ymin"]]
    result = {"image_id": image_id, "category_id": category, "score": thing["score"], "bbox": bbox}
    return {**result, "segmentation": thing["rle"]} if "rle" in thing else result


def map_scenes(gateway: Gateway, folder: Path, part: Part, console: Console) -> Report:
    """Mean intersection over union, then each class's."""
    truth = scenes(folder, part)
    overlap = Overlap(truth.names)

    def take(mask: Path, answer: dict[str, Any]) -> None:
        wanted = truth.truth(mask)
        found = np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["class_map"])))).astype(np.int64)
        if found.shape != wanted.shape:
            raise DatasetError(f"{mask} is {wanted.shape}, its picture {found.shape}")
        overlap.add(wanted, found)

    asking = replace(gateway, query={**gateway.query, "kind": "semantic", "mask_format": "png"})
    run = asking.ask("segment", [(mask, picture) for picture, mask in truth.pictures], take, console)
    return Report(overlap.scores(), len(truth.pictures), run)
