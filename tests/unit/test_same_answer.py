"""The judge of benchmarks/concurrency.py: it lets pass what a batch may change, and nothing else."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.concurrency import WAYS, Case, Concurrency, _compare
from benchmarks.reliability_page import plain
from benchmarks.same_answer import alike, essence
from service.masks import Mask, rle_counts

HEAD = b"http/1.1 200 ok\r\ncontent-type: application/json\r\nx-model: mobilenet_v2"
SCORES = {"id": "a", "predictions": [{"label": "cat", "score": 0.75}], "timing_ms": {"total": 3.0}}


def rle(mask: np.ndarray[Any, np.dtype[np.bool_]]) -> dict[str, object]:
    return {"size": list(mask.shape), "counts": rle_counts(Mask((40, 60), (0, 0), mask))}


def png(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_ids_and_times_do_not_count() -> None:
    other = {**SCORES, "id": "b", "timing_ms": {"total": 90.0}}
    assert essence(HEAD, json.dumps(SCORES).encode()) == essence(HEAD, json.dumps(other).encode())


@pytest.mark.parametrize(
    ("found", "expected", "same"),
    [
        ({"score": 0.75}, {"score": 0.7500001}, True),
        ({"score": 0.75}, {"score": 0.76}, False),
        ({"label": "cat"}, {"label": "dog"}, False),
        ({"box": {"xmin": 10.0}}, {"box": {"xmin": 10.4}}, True),
        ({"box": {"xmin": 10.0}}, {"box": {"xmin": 12.0}}, False),
        ([1.0], [1.0, 2.0], False),
        ({"a": 1}, {"b": 1}, False),
        ({"polygons": [[0, 0, 99, 0, 99, 99]]}, {"polygons": [[0, 0, 99, 0, 99, 98]]}, True),
        ({"polygons": [[0, 0, 99, 0, 99, 99]]}, {"polygons": [[0, 0, 0, 99, 99, 99]]}, False),
    ],
)
def test_only_last_digits_may_differ(found: object, expected: object, same: bool) -> None:
    assert alike(found, expected) is same


def test_masks_may_differ_in_a_pixel_of_a_thousand() -> None:
    mask = np.random.default_rng(1).random((40, 60)) > 0.5
    near, far = mask.copy(), ~mask
    near[3, 4] = not near[3, 4]
    assert alike({"rle": rle(near)}, {"rle": rle(mask)})
    assert not alike({"rle": rle(far)}, {"rle": rle(mask)})
    assert alike(png(near.astype(np.uint8)), png(mask.astype(np.uint8)))
    assert not alike(png(far.astype(np.uint8)), png(mask.astype(np.uint8)))


def test_an_answer_to_another_picture_is_seen_and_named() -> None:
    alone = {
        Case(WAYS[0], number, "mobilenet_v2"): essence(HEAD, json.dumps({"score": number / 4}).encode())
        for number in (1, 2)
    }
    run = Concurrency(1.0)
    for number in (1, 2):
        _compare(Case(WAYS[0], 1, "mobilenet_v2"), HEAD, json.dumps({"score": number / 4}).encode(), alone, run)
    assert run.exact.total() == 1
    assert list(run.wrong) == [
        "classify: top_k=5, raw, picture 1, mobilenet_v2: another answer than alone: it is that of "
        "/v1/classify?top_k=5, picture 2"
    ]


def test_what_was_counted_is_published_as_it_was_counted() -> None:
    run = Concurrency(1.0)
    run.statuses.update({"200": 3})
    assert plain({"rounds": [run]})["rounds"][0]["statuses"] == {"200": 3}
