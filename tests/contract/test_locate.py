"""detect and segment through HTTP, on a fake that finds what is red, green or blue: all parameters, all refusals."""

from __future__ import annotations

import base64
import io
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

from service.engines.fake import FakeEngine
from service.engines.protocol import Entry
from service.manifest import TensorSpec
from service.settings import Settings
from tests.cards import classifier, detector, segmenter
from tests.conftest import FakeGateway, FakeGateways
from tests.contract.problem import assert_problem
from tests.pictures import encoded, header_of, photograph, png, stored

# pycocotools was compiled for NumPy 1.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

PNG = {"Content-Type": "image/png"}
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
# Where they lie in `scene`, xyxy.
RED_BOX, GREEN_BOX, BLUE_BOX = (20, 10, 60, 50), (100, 40, 140, 80), (150, 5, 190, 25)
Box = tuple[float, float, float, float]


@pytest.fixture
async def gateway() -> AsyncIterator[FakeGateway]:
    cards = [
        classifier(),
        detector("big_detector", accuracy=70.0, run_ms=4.0),
        detector("small_detector", accuracy=60.0, run_ms=2.0, variant_of="small", max_batch_size=0),
        detector("wild_detector", accuracy=None),
        segmenter("maps", "semantic"),
        segmenter("things", "instance"),
        segmenter("all_of_it", "panoptic"),
    ]
    async with FakeGateways(Settings(workers=2), FakeEngine(cards)) as opened:
        yield opened


def scene(width: int = 200, height: int = 100) -> Image.Image:
    image = Image.new("RGB", (width, height), (60, 60, 60))
    for colour, box in ((RED, RED_BOX), (GREEN, GREEN_BOX), (BLUE, BLUE_BOX)):
        image.paste(colour, box)
    return image


SCENE = encoded(scene(), "PNG")
NOTHING = encoded(Image.new("RGB", (200, 100), (60, 60, 60)), "PNG")


async def ask(gateway: FakeGateway, path: str, content: bytes = SCENE, **headers: str) -> httpx.Response:
    url = f"/v1/{path}{'&' if '?' in path else '?'}tier=batch"
    return await gateway.client.post(url, content=content, headers={**PNG, **headers})


async def answer(gateway: FakeGateway, path: str, content: bytes = SCENE) -> dict[str, Any]:
    response = await ask(gateway, path, content)
    assert response.status_code == 200, response.text
    document: dict[str, Any] = response.json()
    return document


def xyxy(prediction: dict[str, Any]) -> Box:
    box = prediction["box"]
    return box["xmin"], box["ymin"], box["xmax"], box["ymax"]


def near(box: Box, within_px: float = 3.2) -> Any:
    """One pixel of the model is 200 / 64 pixels of the scene."""
    return pytest.approx(box, abs=within_px)


# --- detect


async def test_things_are_found_where_they_are(gateway: FakeGateway) -> None:
    document = await answer(gateway, "detect")
    assert document["task"] == "detect"
    assert document["image"] == {"width": 200, "height": 100}
    assert document["model"]["name"] == "big_detector"
    assert [p["label"] for p in document["predictions"]] == ["red", "green"], "blue is below the threshold"
    assert xyxy(document["predictions"][0]) == near(RED_BOX)
    assert xyxy(document["predictions"][1]) == near(GREEN_BOX)
    assert document["timing_ms"].keys() == {"read", "decode", "queue", "infer", "post", "total"}
    assert document["warnings"] == []


async def test_a_picture_with_nothing_in_it_has_an_empty_list(gateway: FakeGateway) -> None:
    assert (await answer(gateway, "detect", NOTHING))["predictions"] == []
    assert (await answer(gateway, "segment?kind=instance", NOTHING))["predictions"] == []
    assert [p["label"] for p in (await answer(gateway, "segment", NOTHING))["predictions"]] == ["rest"]
    assert (await answer(gateway, "segment?kind=panoptic", NOTHING))["predictions"] == []


async def test_the_threshold_the_number_and_the_classes_are_the_client_s(gateway: FakeGateway) -> None:
    async def labels(query: str) -> list[str]:
        return [p["label"] for p in (await answer(gateway, f"detect?{query}"))["predictions"]]

    assert await labels("score_threshold=0") == ["red", "green", "blue"]
    assert await labels("score_threshold=0.7") == ["red"]
    assert await labels("score_threshold=0&max_detections=2") == ["red", "green"]
    assert await labels("score_threshold=0&classes=Blue,%20green") == ["green", "blue"]


@pytest.mark.parametrize("orientation", range(1, 9))
async def test_boxes_are_those_of_the_upright_picture(gateway: FakeGateway, orientation: int) -> None:
    image, exif = stored(scene(), orientation)
    document = await answer(gateway, "detect", encoded(image, "PNG", exif=exif))
    assert document["image"] == {"width": 200, "height": 100}
    assert xyxy(document["predictions"][0]) == near(RED_BOX)


async def test_a_flipped_picture_has_flipped_boxes_and_a_padded_one_shifted_ones(gateway: FakeGateway) -> None:
    flipped = encoded(scene().transpose(Image.Transpose.FLIP_LEFT_RIGHT), "PNG")
    left, top, right, bottom = RED_BOX
    assert xyxy((await answer(gateway, "detect", flipped))["predictions"][0]) == near(
        (200 - right, top, 200 - left, bottom)
    )
    padded = Image.new("RGB", (300, 230), (60, 60, 60))
    padded.paste(scene(), (40, 90))
    found = (await answer(gateway, "detect", encoded(padded, "PNG")))["predictions"][0]
    assert xyxy(found) == near((left + 40, top + 90, right + 40, bottom + 90), 300 / 64)


async def test_several_pictures_have_an_answer_each_in_their_order(gateway: FakeGateway) -> None:
    files = [("file", ("a.png", data)) for data in (SCENE, NOTHING, SCENE)]
    for path, key in (("detect", "predictions"), ("segment?kind=instance", "predictions")):
        url = f"/v1/{path}{'&' if '?' in path else '?'}tier=batch"
        document = (await gateway.client.post(url, files=files)).json()
        assert [len(each[key]) for each in document["answers"]] == [2, 0, 2]
        assert document["id"] == document["answers"][0]["id"]


async def test_a_model_without_batch_axis_gets_pictures_one_by_one(gateway: FakeGateway) -> None:
    files = [("file", ("a.png", SCENE))] * 3
    response = await gateway.client.post("/v1/detect?model=small", files=files)
    assert [len(each["predictions"]) for each in response.json()["answers"]] == [2, 2, 2]
    assert {len(job.pixels) for job in gateway.engine.jobs} == {1}


async def test_an_untrained_model_answers_with_a_warning_if_it_is_named(gateway: FakeGateway) -> None:
    assert (await answer(gateway, "detect?model=wild_detector"))["warnings"]


async def test_what_comes_after_the_model_is_predicted_and_learnt(gateway: FakeGateway) -> None:
    predictor = gateway.gateway.predictor
    header = header_of(SCENE)
    before_ms = predictor.post_ms(header, "overlay")
    assert before_ms > predictor.post_ms(header, "boxes") > predictor.post_ms(header, "nothing") == 0
    for _ in range(3):
        await ask(gateway, "detect?overlay=true")
    assert predictor.post_ms(header, "overlay") != before_ms
    refused = await gateway.client.post("/v1/detect?latency_budget_ms=0.01", content=SCENE, headers=PNG)
    limit = refused.json()["limit"]
    assert_problem(refused, 422, "budget-unsatisfiable", field="latency_budget_ms", limit=limit)


# --- segment


def decoded(segment: dict[str, Any]) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = coco.decode(segment["rle"]).astype(bool)
    return mask


def of_png(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text)))


def inside(box: Box, margin_px: int = 4) -> tuple[slice, slice]:
    """What is surely inside of the box."""
    left, top, right, bottom = (int(edge) for edge in box)
    return slice(top + margin_px, bottom - margin_px), slice(left + margin_px, right - margin_px)


async def test_a_semantic_answer_has_the_classes_that_occur_and_together_they_are_the_picture(
    gateway: FakeGateway,
) -> None:
    document = await answer(gateway, "segment")
    assert (document["kind"], document["model"]["name"]) == ("semantic", "maps")
    segments = {p["label"]: p for p in document["predictions"]}
    assert document["predictions"][0]["label"] == "rest", "largest first"
    assert segments.keys() == {"rest", "red", "green", "blue"}
    masks = {label: decoded(segment) for label, segment in segments.items()}
    assert sum(mask.astype(int) for mask in masks.values()).min() == 1  # type: ignore[union-attr]
    assert masks["red"][inside(RED_BOX)].all()
    assert xyxy(segments["red"]) == near(RED_BOX)
    assert segments["red"]["area_px"] == masks["red"].sum()
    assert segments["red"]["score"] is None


async def test_instances_have_scores_boxes_and_a_mask_each(gateway: FakeGateway) -> None:
    document = await answer(gateway, "segment?kind=instance&score_threshold=0")
    assert document["model"]["name"] == "things"
    assert [p["label"] for p in document["predictions"]] == ["red", "green", "blue"]
    for segment, box in zip(document["predictions"], (RED_BOX, GREEN_BOX, BLUE_BOX), strict=True):
        assert xyxy(segment) == near(box)
        mask = decoded(segment)
        assert mask.shape == (100, 200)
        assert mask[inside(box)].all()
        assert mask.sum() == segment["area_px"] == pytest.approx((box[2] - box[0]) * (box[3] - box[1]), rel=0.25)


async def test_panoptic_segments_have_a_class_and_a_number(gateway: FakeGateway) -> None:
    document = await answer(gateway, "segment?kind=panoptic&mask_format=png")
    segment_map = np.asarray(of_png(document["segment_map"]))
    class_map = np.asarray(of_png(document["class_map"]))
    assert {p["label"] for p in document["predictions"]} == {"red", "green", "blue"}
    for segment in document["predictions"]:
        assert (segment_map == segment["map_value"]).sum() == segment["area_px"]
        assert (class_map[segment_map == segment["map_value"]] == segment["class_id"]).all()


@pytest.mark.parametrize("kind", ["semantic", "instance"])
async def test_polygons_and_png_are_the_same_masks_as_rle(gateway: FakeGateway, kind: str) -> None:
    rle = (await answer(gateway, f"segment?kind={kind}"))["predictions"]
    polygon = (await answer(gateway, f"segment?kind={kind}&mask_format=polygon"))["predictions"]
    document = await answer(gateway, f"segment?kind={kind}&mask_format=png")
    for by_rle, by_polygon, by_png in zip(rle, polygon, document["predictions"], strict=True):
        mask = decoded(by_rle)
        assert by_polygon["rle"] is by_png["rle"] is by_rle["polygons"] is by_rle["png"] is None
        if kind == "instance":
            assert np.array_equal(np.asarray(of_png(by_png["png"])).astype(bool), mask)
        else:
            assert np.array_equal(np.asarray(of_png(document["class_map"])) == by_png["map_value"], mask)
        outer = coco.frPyObjects([max(by_polygon["polygons"], key=len)], 100, 200)
        drawn = coco.decode(coco.merge(outer)).astype(bool)
        if by_rle["label"] != "rest":  # which has holes
            assert (drawn ^ mask).sum() <= 0.1 * mask.sum()


async def test_accept_png_brings_the_map_itself(gateway: FakeGateway) -> None:
    for kind, values in (("semantic", {0, 1, 2, 3}), ("instance", {0, 1, 2}), ("panoptic", {0, 1, 2, 3})):
        response = await ask(gateway, f"segment?kind={kind}&mask_format=png", accept="image/png")
        assert response.headers["content-type"] == "image/png"
        assert response.headers["x-model"]
        assert "post;dur=" in response.headers["server-timing"]
        image = Image.open(io.BytesIO(response.content))
        assert image.size == (200, 100)
        assert set(np.unique(np.asarray(image))) == values


async def test_only_the_classes_asked_for_are_in_the_map(gateway: FakeGateway) -> None:
    document = await answer(gateway, "segment?mask_format=png&classes=red,blue")
    assert {p["label"] for p in document["predictions"]} == {"red", "blue"}
    assert set(np.unique(np.asarray(of_png(document["class_map"])))) == {1, 3, 255}


async def test_the_named_model_decides_the_kind_if_the_client_does_not(gateway: FakeGateway) -> None:
    assert (await answer(gateway, "segment?model=things"))["kind"] == "instance"
    assert (await answer(gateway, "segment?model=all_of_it"))["kind"] == "panoptic"


# --- overlay


@pytest.mark.parametrize("path", ["detect", "segment", "segment?kind=instance", "segment?kind=panoptic"])
@pytest.mark.parametrize(("accept", "media_type"), [("*/*", "image/jpeg"), ("image/png", "image/png")])
async def test_overlay_is_the_picture_drawn_on(gateway: FakeGateway, path: str, accept: str, media_type: str) -> None:
    response = await ask(gateway, f"{path}{'&' if '?' in path else '?'}overlay=true", accept=accept)
    assert response.headers["content-type"] == media_type, response.text
    drawn = np.asarray(Image.open(io.BytesIO(response.content)).convert("RGB")).astype(int)
    assert drawn.shape == (100, 200, 3)
    assert np.abs(drawn - np.asarray(scene()).astype(int)).max() > 60
    assert response.headers["x-model"]


async def test_an_overlay_of_nothing_is_the_picture(gateway: FakeGateway) -> None:
    response = await ask(gateway, "detect?overlay=true", NOTHING, accept="image/png")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(response.content))), np.full((100, 200, 3), 60))


# --- route


async def test_route_says_which_model_would_do_which_task(gateway: FakeGateway) -> None:
    async def model(query: str) -> str | None:
        document = (await gateway.client.post(f"/v1/route?{query}&tier=batch")).json()
        name: str | None = document["model"]
        return name

    assert await model("task=detect") == "big_detector"
    assert await model("task=segment") == "maps"
    assert await model("task=segment&kind=instance") == "things"
    assert await model("task=classify") == "fake_large"


async def test_a_model_s_page_lists_the_classes_that_can_be_asked_for(gateway: FakeGateway) -> None:
    model = (await gateway.client.get("/v1/models/maps")).json()
    assert model["class_names"] == ["rest", "red", "green", "blue"]
    assert (model["segment_kind"], model["classes"]) == ("semantic", 4)


async def test_only_models_measured_alike_stand_in_for_one_another() -> None:
    elsewhere = detector("elsewhere", accuracy=90.0)
    assert elsewhere.accuracy is not None
    elsewhere = replace(elsewhere, accuracy=replace(elsewhere.accuracy, dataset="another data set"))
    cards = [detector("one", accuracy=60.0), detector("two", accuracy=70.0), elsewhere]
    async with FakeGateways(Settings(workers=1), FakeEngine(cards)) as opened:
        document = await answer(opened, "detect")
        assert (document["model"]["name"], document["routing"]["candidates"]) == ("two", 2)
        assert (await answer(opened, "detect?model=elsewhere"))["model"]["accuracy"] == 90.0


async def test_a_model_without_the_outputs_of_its_task_is_not_served() -> None:
    broken = detector("broken", outputs=(TensorSpec("boxes", "FP32", (5, 4)),))
    async with FakeGateways(Settings(workers=1), FakeEngine([broken, detector("whole")])) as opened:
        assert_problem(await ask(opened, "detect?model=broken"), 404, "unknown-model", field="model")
        assert (await answer(opened, "detect"))["model"]["name"] == "whole"


# --- what is refused

REFUSED: dict[str, tuple[str, int, str, str | None, str | None]] = {
    "threshold above 1": ("detect?score_threshold=1.1", 422, "invalid-parameter", "score_threshold", "le 1.0"),
    "threshold nan": ("detect?score_threshold=nan", 422, "invalid-parameter", "score_threshold", None),
    "no detections": ("detect?max_detections=0", 422, "invalid-parameter", "max_detections", "ge 1"),
    "too many detections": ("detect?max_detections=1001", 422, "invalid-parameter", "max_detections", "le 1000"),
    "unknown class": ("detect?classes=cat", 422, "invalid-parameter", "classes", "3 classes"),
    "no class": ("detect?classes=", 422, "invalid-parameter", "classes", None),
    "unknown class of maps": ("segment?classes=cat", 422, "invalid-parameter", "classes", "4 classes"),
    "kind for detect": ("detect?kind=instance", 422, "invalid-parameter", "kind", None),
    "top_k for detect": ("detect?top_k=3", 422, "invalid-parameter", "top_k", None),
    "unknown kind": (
        *("segment?kind=thing", 422, "invalid-parameter", "kind"),
        "expected 'semantic', 'instance' or 'panoptic'",
    ),
    "unknown format": (
        *("segment?mask_format=gif", 422, "invalid-parameter", "mask_format"),
        "expected 'rle', 'polygon' or 'png'",
    ),
    "threshold of a map": ("segment?score_threshold=0.5", 422, "invalid-parameter", "score_threshold", None),
    "number of a map": ("segment?kind=panoptic&max_detections=3", 422, "invalid-parameter", "max_detections", None),
    "overlay in words": ("detect?overlay=perhaps", 422, "invalid-parameter", "overlay", None),
    "another kind than the model's": ("segment?kind=semantic&model=things", 422, "wrong-task", "kind", None),
    "a classifier": ("detect?model=fake_large", 422, "wrong-task", "model", None),
    "a detector to segment": ("segment?model=big_detector", 422, "wrong-task", "model", None),
    "an unknown model": ("segment?model=nobody", 404, "unknown-model", "model", None),
    "an accuracy nobody has": ("detect?min_accuracy=71", 422, "accuracy-unsatisfiable", "min_accuracy", None),
    "kind without segment": ("route?task=detect&kind=instance", 422, "invalid-parameter", "kind", None),
    "an unknown task": (
        *("route?task=dream", 422, "invalid-parameter", "task"),
        "expected 'classify', 'detect' or 'segment'",
    ),
}


@pytest.mark.parametrize(("path", "status", "code", "field", "limit"), REFUSED.values(), ids=REFUSED.keys())
async def test_what_cannot_be_is_refused_by_name(
    gateway: FakeGateway, path: str, status: int, code: str, field: str | None, limit: str | None
) -> None:
    response = await ask(gateway, path)
    if limit is None and "limit" in response.json():
        limit = response.json()["limit"]
    assert_problem(response, status, code, field=field, limit=limit)
    assert await gateway.metric("vision_in_flight_requests") == 0


async def test_an_overlay_of_several_pictures_is_refused(gateway: FakeGateway) -> None:
    files = [("file", ("a.png", SCENE))] * 2
    for path, accept, field in (
        ("detect?overlay=true", "*/*", "overlay"),
        ("segment?mask_format=png", "image/png", "Accept"),
    ):
        response = await gateway.client.post(f"/v1/{path}", files=files, headers={"Accept": accept})
        assert_problem(response, 422, "invalid-parameter", field=field, limit="1 picture")


async def test_a_task_without_a_model_is_404_and_not_worth_another_try() -> None:
    async with FakeGateways(Settings(workers=1), FakeEngine([classifier()])) as opened:
        for path, field in (("detect", None), ("segment?kind=panoptic", "kind")):
            refused = await ask(opened, path)
            assert_problem(refused, 404, "no-model", field=field)
            assert "Retry-After" not in refused.headers


class KeepsOneUnknown(FakeEngine):
    """As a server with an entry that it has never loaded: nobody knows yet what it does."""

    async def entries(self) -> list[Entry]:
        return [*await super().entries(), Entry("unknown", None, loaded=False)]


async def test_a_task_without_a_model_may_have_one_while_an_entry_is_unknown() -> None:
    async with FakeGateways(Settings(workers=1), KeepsOneUnknown([classifier()])) as opened:
        assert_problem(await ask(opened, "detect"), 503, "not-ready")


async def test_a_task_whose_models_are_all_unloaded_is_not_ready() -> None:
    async with FakeGateways(Settings(workers=1), FakeEngine([classifier(), detector("only")])) as opened:
        assert (await ask(opened, "detect")).status_code == 200
        await opened.admin.post("/v1/models/only/unload")
        assert_problem(await ask(opened, "detect"), 503, "not-ready")


async def test_a_damaged_picture_is_refused_before_and_after_the_model(gateway: FakeGateway) -> None:
    for path in ("detect", "segment", "detect?overlay=true"):
        assert_problem(await ask(gateway, path, SCENE[:200]), 400, "bad-image", field="image")


@pytest.mark.parametrize("path", ["detect", "segment", "segment?kind=instance&mask_format=png", "detect?overlay=true"])
async def test_extreme_pictures_answer_or_are_refused_with_a_reason(gateway: FakeGateway, path: str) -> None:
    for size in ((1, 1), (10_000, 8), (8, 10_000)):
        response = await ask(gateway, path, encoded(Image.new("RGB", size, RED), "PNG"))
        assert response.status_code == 200, response.text
    assert_problem(await ask(gateway, path, png(8_000, 8_000)), 413, "too-large", field="image", limit="50000000 px")


async def test_a_photograph_as_jpeg_is_drawn_on_in_its_own_size(gateway: FakeGateway) -> None:
    response = await ask(gateway, "segment?overlay=true", encoded(photograph("rocket")))
    assert Image.open(io.BytesIO(response.content)).size == (640, 427)
