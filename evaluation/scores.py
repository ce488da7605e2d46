"""Quality as the field measures it, in percent: top-1, COCO average precision, mean intersection over union."""

from __future__ import annotations

import contextlib
import io
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from evaluation.samples import VOID


def average_precision(
    document: dict[str, Any], found: list[dict[str, Any]], kind: Literal["bbox", "segm"]
) -> dict[str, float]:
    """AP, AP50 and AP75 by pycocotools. `found`: COCO's result format; an empty list scores 0."""
    if not found:
        return {"AP": 0.0, "AP50": 0.0, "AP75": 0.0}
    from pycocotools.coco import COCO  # of the extra [eval]; __main__ has made sure of it
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        truth = COCO()
        truth.dataset = document
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(found), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {name: 100 * float(value) for name, value in zip(("AP", "AP50", "AP75"), evaluation.stats[:3], strict=True)}


class Overlap:
    """Intersection over union of each class, over all pixels of all pictures."""

    def __init__(self, names: list[str]) -> None:
        """`names` by class id; pixels whose truth is void say nothing."""
        self._names = names
        self._void = [value for value, name in enumerate(names) if name == VOID]
        size = len(names)
        # One column more: pixels that the answer leaves without a class.
        self._confusion = np.zeros((size, size + 1), dtype=np.int64)

    def add(self, truth: NDArray[np.int64], answer: NDArray[np.int64]) -> None:
        """(H, W) each; a truth that is void or beyond the classes is not counted, as an answer it is wrong."""
        size = len(self._names)
        known = (truth < size) & ~np.isin(truth, self._void)
        named = (answer >= 0) & (answer < size) & ~np.isin(answer, self._void)
        columns = np.where(named, answer, size)[known]
        pairs = np.bincount(truth[known] * (size + 1) + columns, minlength=size * (size + 1))
        self._confusion += pairs.reshape(size, size + 1)

    def scores(self) -> dict[str, float]:
        """mIoU over the classes that occur, then each class."""
        hits = np.diag(self._confusion[:, :-1])
        union = self._confusion.sum(axis=1) + self._confusion[:, :-1].sum(axis=0) - hits
        each = {name: 100 * float(h / u) for name, h, u in zip(self._names, hits, union, strict=True) if u}
        return {"mIoU": float(np.mean(list(each.values()))) if each else 0.0, **each}
