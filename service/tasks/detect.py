"""Boxes, scores and classes → the things found, in pixels of the upright original."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.errors import EngineFailed, InvalidParameter
from service.images import Geometry
from service.tasks.shortest import shortest

Arrays = Mapping[str, NDArray[np.generic]]
BoxXyxy = tuple[float, float, float, float]

_MOST_SURE = 1.001  # a sigmoid in half precision may round a little beyond 1


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which of the things found are wanted. `class_ids` None: every class."""

    score_threshold: float
    max_detections: int
    class_ids: frozenset[int] | None = None


@dataclass(frozen=True, slots=True)
class Detection:
    """A thing found: `slot` is its place in the model's outputs, `box` xyxy in pixels, inside the picture."""

    label: str
    class_id: int
    score: float
    box: BoxXyxy
    slot: int


def find(arrays: Arrays, geometry: Geometry, names: tuple[str, ...], wanted: Wanted) -> list[Detection]:
    """The things that are wanted, best first; an empty list if there are none.

    arrays  boxes (K, 4) xyxy in 0..1 of the model's input, scores (K,), classes (K,); score 0 marks an empty slot.
    Boxes are clipped to the picture; one that lies wholly in the padding is not there.
    Raises EngineFailed if the model gave anything but numbers, or a class that has no name.
    """
    scores = arrays["scores"].astype(np.float32)  # (K,)
    classes = arrays["classes"].astype(np.int64)  # (K,)
    boxes_model_01 = arrays["boxes"].astype(np.float64)  # (K, 4)
    filled = scores > 0
    if not (np.isfinite(scores).all() and np.isfinite(boxes_model_01[filled]).all()):
        raise EngineFailed("the model gave boxes or scores that are no numbers")
    if scores.max(initial=0.0) > _MOST_SURE:
        raise EngineFailed("the model gave scores above 1")
    if filled.any() and not (classes[filled].min() >= 0 and classes[filled].max() < len(names)):
        raise EngineFailed("the model gave a class that has no name")
    boxes_image_px = geometry.boxes_to_image_px(boxes_model_01)  # (K, 4)
    there = (boxes_image_px[:, 2] > boxes_image_px[:, 0]) & (boxes_image_px[:, 3] > boxes_image_px[:, 1])
    # In the scores' own precision: who asks for 0.6087 and more, as it was told, gets it.
    chosen = filled & there & (scores >= np.float32(wanted.score_threshold))
    if wanted.class_ids is not None:
        chosen &= np.isin(classes, list(wanted.class_ids))
    slots = np.flatnonzero(chosen)
    slots = slots[np.argsort(-scores[slots], kind="stable")][: wanted.max_detections]
    return [
        Detection(names[classes[i]], int(classes[i]), score, _box(boxes_image_px[i]), int(i))
        for i, score in zip(slots, shortest(scores[slots]), strict=True)
    ]


def class_ids(classes: str | None, names: tuple[str, ...], model: str) -> frozenset[int] | None:
    """The ids of `person,dog`, None for None. Raises InvalidParameter for a class that the model does not know."""
    if classes is None:
        return None
    by_name = {name.lower(): class_id for class_id, name in enumerate(names)}
    wanted = [part.strip().lower() for part in classes.split(",")]
    for part in wanted:
        if part not in by_name:
            known = ", ".join(names) if len(names) <= 12 else f"{len(names)} classes, as /v1/models/{model} lists them"
            raise InvalidParameter(
                f"{model} knows no class {part[:40]!r}; it knows {known}",
                field="classes",
                limit=f"{len(names)} classes",
            )
    return frozenset(by_name[part] for part in wanted)


def _box(row: NDArray[np.float64]) -> BoxXyxy:
    left, top, right, bottom = (float(edge) for edge in row)
    return left, top, right, bottom
