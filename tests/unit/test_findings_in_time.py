"""What a worker does with many things on a large picture: one mask at a time, and none once nobody waits."""

from __future__ import annotations

import gc
import io
import time
import weakref
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service import findings
from service.ask import Raw
from service.errors import DeadlineExceeded
from service.image_header import ImageHeader
from service.images import Geometry
from service.masks import Mask
from service.schemas import SegmentQuery
from service.tasks.segment import paste_masks
from tests.cards import segmenter

THINGS, HEIGHT_PX, WIDTH_PX = 6, 300, 400


def raw(deadline_s: float) -> Raw:
    """Six things, each as large as the picture."""
    arrays = {
        "boxes": np.tile(np.array([0.0, 0.0, 1.0, 1.0], np.float32), (THINGS, 1)),
        "scores": np.linspace(0.9, 0.8, THINGS, dtype=np.float32),
        "classes": np.zeros(THINGS, np.int32),
        "masks": np.ones((THINGS, 4, 4), np.float32),
    }
    size_hw = (HEIGHT_PX, WIDTH_PX)
    geometry = Geometry(image_hw=size_hw, model_hw=size_hw, scale_yx=(1.0, 1.0), offset_yx=(0.0, 0.0))
    header = ImageHeader("png", WIDTH_PX, HEIGHT_PX)
    nobody_looks: Any = None
    return Raw(segmenter("things", "instance"), arrays, geometry, nobody_looks, header, deadline_s)


@pytest.fixture
def alive(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many masks there were each time when one more had been made."""
    made, counts = list[weakref.ref[Any]](), list[int]()

    def watched(*arguments: Any) -> Any:
        for mask in paste_masks(*arguments):
            made.append(weakref.ref(mask.pixels))
            gc.collect()
            counts.append(sum(pixels() is not None for pixels in made))
            yield mask
            del mask

    monkeypatch.setattr(findings, "paste_masks", watched)
    return counts


@pytest.mark.parametrize("mask_format", ["rle", "polygon", "png"])
def test_masks_are_made_written_and_dropped_one_by_one(alive: list[int], mask_format: Any) -> None:
    query = SegmentQuery(mask_format=mask_format, kind="instance", score_threshold=0.0)
    segments = findings.segment_finish(query, "instance", "json").run(raw(time.monotonic() + 60))
    assert [segment.area_px for segment in segments.predictions] == [HEIGHT_PX * WIDTH_PX] * THINGS
    assert len(alive) == THINGS
    assert max(alive) <= 2  # the one that is made, beside the one that has just been written


@pytest.mark.parametrize("view", ["json", "png"])
def test_once_nobody_waits_no_more_masks_are_made(alive: list[int], view: Any) -> None:
    finish = findings.segment_finish(SegmentQuery(kind="instance", score_threshold=0.0), "instance", view)
    with pytest.raises(DeadlineExceeded):
        finish.run(raw(time.monotonic() - 1.0))
    assert len(alive) == 1


def test_in_a_map_the_surest_thing_is_on_top() -> None:
    image_hw = (4, 4)
    lower = Mask(image_hw, (0, 0), np.ones((4, 4), bool))
    upper = Mask(image_hw, (0, 0), np.ones((2, 2), bool))
    png = findings._png_of_things([lower, upper], 2, image_hw)
    values = np.asarray(Image.open(io.BytesIO(png)))
    assert values[:2, :2].tolist() == [[1, 1], [1, 1]]
    assert (values[2:] == 2).all()
