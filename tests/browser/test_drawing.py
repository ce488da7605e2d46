"""What is drawn over the picture is what the API returned: positions on the canvas against numbers in the answer."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

from service.drawing import colour_of
from tests.browser.console import ConsolePage
from tests.e2e.conftest import photograph
from tests.pictures import encoded, stored

# pycocotools was compiled for NumPy 1.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def sampled(mask: NDArray[np.bool_], height: int, width: int) -> NDArray[np.bool_]:
    """The mask at another size, nearest neighbour, by NumPy: the page does it in JavaScript out of run lengths."""
    rows = ((np.arange(height) + 0.5) * mask.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * mask.shape[1] / width).astype(int)
    return mask[np.ix_(rows, columns)]


def decoded(prediction: dict[str, Any]) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = coco.decode(prediction["rle"]).astype(bool)
    return mask


def test_labels_and_bars_of_a_classification_are_the_answer_s(console: ConsolePage) -> None:
    console.open(task="classify", tier="batch")
    answer = console.take("chelsea.jpg", photograph("chelsea"))
    assert answer["predictions"][0]["label"] == "Egyptian cat"
    assert console.labels() == [prediction["label"] for prediction in answer["predictions"]]
    shares = console.page.eval_on_selector_all(
        ".prediction",
        "rows => rows.map(row => row.querySelector('.bar-fill').getBoundingClientRect().width"
        " / row.querySelector('.bar-track').getBoundingClientRect().width)",
    )
    assert shares[:2] == pytest.approx([p["score"] for p in answer["predictions"][:2]], abs=0.02)
    assert console.answered_by() == answer["model"]["name"]
    assert not console.overlay().any()


def test_boxes_are_drawn_where_the_answer_has_them(console: ConsolePage) -> None:
    console.open(task="detect", tier="batch")
    answer = console.take("astronaut.jpg", photograph("astronaut"))
    sure = [p for p in answer["predictions"] if p["score"] >= 0.4]
    assert sure, "nobody was found: nothing is tested"
    overlay = console.overlay()
    scale = overlay.shape[1] / answer["image"]["width"], overlay.shape[0] / answer["image"]["height"]
    assert scale[0] == pytest.approx(scale[1], rel=0.01), "the picture is shown upright and in its own proportions"
    colour = np.array(colour_of(sure[0]["class_id"]))
    box = sure[0]["box"]
    left, right = box["xmin"] * scale[0], box["xmax"] * scale[0]
    top, bottom = box["ymin"] * scale[1], box["ymax"] * scale[1]
    middle_row, middle_column = int((top + bottom) / 2), int((left + right) / 2)
    for edge, at in ((left, slice(-1, 4)), (right, slice(-4, 1))):
        strip = overlay[middle_row, max(0, round(edge) + (at.start or 0)) : round(edge) + (at.stop or 0)]
        assert (np.abs(strip[:, :3].astype(int) - colour).max(axis=1) < 12).any(), f"no edge at {edge:.1f}"
    for edge, at in ((top, slice(-1, 4)), (bottom, slice(-4, 1))):
        strip = overlay[max(0, round(edge) + (at.start or 0)) : round(edge) + (at.stop or 0), middle_column]
        assert (np.abs(strip[:, :3].astype(int) - colour).max(axis=1) < 12).any(), f"no edge at {edge:.1f}"
    if len(sure) == 1:
        outside = overlay.copy()
        outside[max(0, int(top) - 22) : int(bottom) + 3, max(0, int(left) - 3) : int(right) + 3] = 0
        assert not outside.any(), "nothing is drawn elsewhere"


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_a_picture_is_shown_upright_however_it_is_stored(console: ConsolePage, image_format: str) -> None:
    upright = Image.open(io.BytesIO(photograph("coffee"))).crop((0, 0, 600, 240))
    expected = np.asarray(upright.resize((60, 24), Image.Resampling.BOX), int)
    console.open(tier="batch")
    for orientation in range(1, 9):
        image, exif = stored(upright, orientation)
        data = encoded(image, image_format, exif=exif, quality=95)
        answer = console.take("coffee", data, f"image/{image_format.lower()}")
        assert answer["image"] == {"width": 600, "height": 240}
        shown = Image.fromarray(console.picture()).convert("RGB").resize((60, 24), Image.Resampling.BOX)
        assert np.abs(np.asarray(shown, int) - expected).mean() < 4, f"orientation {orientation}"


def test_the_map_of_a_scene_is_drawn_class_by_class(console: ConsolePage) -> None:
    console.open(task="segment", kind="semantic", tier="batch")
    answer = console.take("rocket.jpg", photograph("rocket"))
    assert answer["kind"] == "semantic"
    overlay = console.overlay()
    height, width = overlay.shape[:2]
    seen = np.zeros((height, width), bool)
    for prediction in answer["predictions"]:
        mask = sampled(decoded(prediction), height, width)
        seen |= mask
        colour = np.array(colour_of(prediction["class_id"]))
        # A canvas stores colours multiplied by their opacity: a step of it is two of ours.
        assert (np.abs(overlay[mask][:, :3].astype(int) - colour).max(axis=1) <= 2).all(), prediction["label"]
    assert (overlay[..., 3] > 0)[seen].all()
    assert not overlay[~seen].any()
    assert sorted(console.page.locator("#legend .chip").all_inner_texts()) == sorted(console.labels())


def test_masks_of_things_are_drawn_on_their_pixels_and_nowhere_else(console: ConsolePage) -> None:
    console.open(task="segment", kind="instance", tier="batch")
    answer = console.take("astronaut.jpg", photograph("astronaut"))
    sure = [p for p in answer["predictions"] if p["score"] >= 0.4]
    assert sure, "nobody was found: nothing is tested"
    overlay = console.overlay()
    height, width = overlay.shape[:2]
    top = sampled(decoded(sure[0]), height, width)
    clear = top.copy()  # of what is drawn above all masks: boxes and their tags
    scale = width / answer["image"]["width"]
    for prediction in sure:
        left, upper, right, lower = (int(prediction["box"][side] * scale) for side in ("xmin", "ymin", "xmax", "ymax"))
        clear[max(0, upper - 22) : upper + 22] = False
        for edge in (left, right):
            clear[:, max(0, edge - 5) : edge + 5] = False
        clear[max(0, lower - 5) : lower + 5] = False
    assert clear.sum() > 5_000
    assert (np.abs(overlay[clear][:, :3].astype(int) - np.array(colour_of(0))).max(axis=1) <= 2).all()
    union = np.any([sampled(decoded(p), height, width) for p in sure], axis=0)
    boxes = np.zeros_like(union)
    for prediction in sure:
        left, upper, right, lower = (int(prediction["box"][side] * scale) for side in ("xmin", "ymin", "xmax", "ymax"))
        boxes[max(0, upper - 22) : lower + 4, max(0, left - 4) : max(right + 4, left + 140)] = True
    assert not overlay[~(union | boxes)].any()


def test_the_threshold_filters_what_is_there_and_asks_nothing(console: ConsolePage) -> None:
    console.open(task="segment", kind="instance", tier="batch")
    answer = console.take("astronaut.jpg", photograph("astronaut"))
    scores = [p["score"] for p in answer["predictions"]]
    assert len(scores) > 3, "nothing to filter"
    asked: list[str] = []
    console.page.on("request", lambda request: asked.append(request.url))
    drawn = []
    for threshold in (0.1, 0.3, 0.4, 0.95):
        console.set_range("#threshold", threshold)
        assert len(console.labels()) == sum(score >= threshold for score in scores)
        drawn.append(int((console.overlay()[..., 3] > 0).sum()))
    assert drawn == sorted(drawn, reverse=True)
    assert drawn[-1] == 0
    assert [url for url in asked if "/v1/segment" in url or "/v1/route" in url] == []
    assert "score_threshold=0.95" in console.page.inner_text("#snippet"), "the request to copy has the same threshold"


def test_the_legend_and_the_switch_take_off_what_is_drawn(console: ConsolePage) -> None:
    console.open(task="segment", kind="semantic", tier="batch")
    answer = console.take("rocket.jpg", photograph("rocket"))
    before = console.overlay()
    largest = answer["predictions"][0]
    console.page.click(f'#legend [data-group="{largest["class_id"]}"]')
    mask = sampled(decoded(largest), *before.shape[:2])
    after = console.overlay()
    assert not after[mask].any()
    assert (after[~mask] == before[~mask]).all()
    console.page.uncheck("#overlay-shown")
    assert not console.overlay().any()
