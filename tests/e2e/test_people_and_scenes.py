"""detect and segment with the starter heads, through HTTP, over both engines."""

from __future__ import annotations

import io
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

from export.starter.models import detect_module
from export.starter.placements import letterbox
from tests.e2e.conftest import photograph
from tests.gateway_server import GatewayServer, require_starter_models, shared_data

# pycocotools was compiled for NumPy 1.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

PEOPLE = "ssdlite_efficientnet_lite0_384"
MASKS = "masks_efficientnet_lite0_384"
SCENES = "unet_efficientnet_lite0_384x512"
STARTERS = (PEOPLE, MASKS, SCENES)
ENGINES_AGREE_PX = 0.1


@pytest.fixture(autouse=True)
def _starter_models() -> None:
    require_starter_models(STARTERS)


def ask(gateway: GatewayServer, path: str, content: bytes, **params: str | float) -> httpx.Response:
    headers = {"Content-Type": "application/octet-stream"}
    return httpx.post(f"{gateway.url}/v1/{path}", params=params, content=content, headers=headers, timeout=120)


def answer(gateway: GatewayServer, path: str, content: bytes, **params: str | float) -> dict[str, Any]:
    response = ask(gateway, path, content, **params)
    assert response.status_code == 200, response.text
    document: dict[str, Any] = response.json()
    return document


def decoded(segment: dict[str, Any]) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = coco.decode(segment["rle"]).astype(bool)
    return mask


def as_png(pixels: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_the_astronaut_is_found_and_a_cup_of_coffee_is_nobody(gateway: GatewayServer) -> None:
    found = answer(gateway, "detect", photograph("astronaut"), model=PEOPLE)
    assert found["model"]["weights"] == "starter"
    best = found["predictions"][0]
    assert best["label"] == "person"
    box = best["box"]
    assert box["xmin"] < 226 < box["xmax"], "her face"
    assert box["ymin"] < 120 < box["ymax"]
    assert answer(gateway, "detect", photograph("coffee"), model=PEOPLE, score_threshold=0.5)["predictions"] == []


def test_the_astronaut_s_mask_covers_her_and_not_the_corner(gateway: GatewayServer) -> None:
    found = answer(gateway, "segment", photograph("astronaut"), model=MASKS)
    assert found["kind"] == "instance"
    mask = decoded(found["predictions"][0])
    assert mask.shape == (512, 512)
    assert mask[100:140, 210:240].all(), "her face"
    assert not mask[480:, :20].any()


def test_a_flipped_picture_has_flipped_boxes(embedded_gateway: GatewayServer) -> None:
    picture = shared_data("pennfudan") / "images" / "FudanPed00005.jpg"
    pixels = np.asarray(Image.open(picture).convert("RGB"))
    sure = answer(embedded_gateway, "detect", as_png(pixels), model=PEOPLE, score_threshold=0.5)["predictions"]
    mirrored = as_png(np.ascontiguousarray(pixels[:, ::-1]))
    flipped = answer(embedded_gateway, "detect", mirrored, model=PEOPLE, score_threshold=0.2)["predictions"]
    assert sure
    for left, top, right, bottom in map(_xyxy, sure):
        # The network itself is not symmetrical: its strides begin at the left.
        there = np.array([pixels.shape[1] - right, top, pixels.shape[1] - left, bottom])
        assert max(_iou(there, _xyxy(p)) for p in flipped) > 0.7


def test_people_of_a_street_are_found_where_the_labels_say(gateway: GatewayServer) -> None:
    folder = shared_data("pennfudan")
    picture = (folder / "images" / "FudanPed00005.jpg").read_bytes()
    mask = np.asarray(Image.open(folder / "masks" / "FudanPed00005.png"))
    found = answer(gateway, "detect", picture, model=PEOPLE)["predictions"]
    for person in range(1, int(mask.max()) + 1):
        y, x = np.nonzero(mask == person)
        truth = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1], dtype=float)
        assert max(_iou(truth, _xyxy(p)) for p in found) > 0.5


@pytest.mark.parametrize("picture", ["astronaut", "rocket"])
def test_boxes_through_http_are_those_of_torch(embedded_gateway: GatewayServer, picture: str) -> None:
    content = photograph(picture, "PNG")
    pixels = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    canvas, scale, offset = letterbox(pixels, (384, 384))
    with torch.inference_mode():
        boxes, scores, _ = (tensor[0].numpy() for tensor in detect_module((384, 384))(torch.from_numpy(canvas[None])))
    height, width = pixels.shape[:2]
    # Each side was rounded to whole pixels by itself.
    stretch = np.array([width / round(width * scale), height / round(height * scale)] * 2)
    truth = (boxes * 384 - np.array(offset * 2)) * stretch  # (K, 4) in the picture's pixels
    found = answer(embedded_gateway, "detect", content, model=PEOPLE, score_threshold=0.0)["predictions"]
    for box, score in zip(truth[scores > 0.05], scores[scores > 0.05], strict=True):
        alike = [p for p in found if abs(p["score"] - score) < 1e-3]
        assert max(_iou(np.clip(box, 0, [width, height] * 2), _xyxy(p)) for p in alike) > 0.99


def test_a_road_scene_has_road_below_and_sky_above(gateway: GatewayServer) -> None:
    folder = shared_data("camvid/val")
    image = sorted((folder / "images").iterdir())[0]
    truth = np.asarray(Image.open(folder / "masks" / f"{image.stem}.png"))
    found = answer(gateway, "segment", image.read_bytes(), model=SCENES)
    assert found["kind"] == "semantic"
    ids = {p["label"]: p["class_id"] for p in found["predictions"]}
    masks = {p["label"]: decoded(p) for p in found["predictions"]}
    assert {"road", "sky", "building"} <= masks.keys()
    for label in ("road", "sky"):
        wanted = truth == ids[label]
        assert (masks[label] & wanted).sum() / (masks[label] | wanted).sum() > 0.8


@pytest.mark.triton
@pytest.mark.parametrize("model", STARTERS)
def test_both_engines_give_the_same(embedded_gateway: GatewayServer, triton_gateway: GatewayServer, model: str) -> None:
    path = "detect" if model == PEOPLE else "segment"
    both = [answer(g, path, photograph("astronaut"), model=model) for g in (embedded_gateway, triton_gateway)]
    for one, other in zip(*(document["predictions"] for document in both), strict=True):
        assert one["label"] == other["label"]
        assert _xyxy(one) == pytest.approx(_xyxy(other), abs=ENGINES_AGREE_PX if model != SCENES else 4)
        if one.get("rle"):
            union = (decoded(one) | decoded(other)).sum()
            assert (decoded(one) & decoded(other)).sum() / union > 0.99 or union < 500


@pytest.mark.parametrize(("path", "kind"), [("detect", None), ("segment", "semantic"), ("segment", "instance")])
def test_tiers_have_models_and_an_overlay_is_a_picture(
    embedded_gateway: GatewayServer, path: str, kind: str | None
) -> None:
    params = {} if kind is None else {"kind": kind}
    found = answer(embedded_gateway, path, photograph("astronaut"), tier="relaxed", **params)
    assert found["routing"]["candidates"] >= 1
    drawn = ask(embedded_gateway, path, photograph("astronaut"), tier="batch", overlay="true", **params)
    assert drawn.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(drawn.content)).size == (512, 512)


@pytest.mark.parametrize("model", STARTERS)
@pytest.mark.parametrize("size", [(1, 1), (10_000, 8), (8, 10_000), (8_000, 8_000)])
def test_extreme_pictures_answer_or_are_refused_with_a_reason(
    embedded_gateway: GatewayServer, model: str, size: tuple[int, int]
) -> None:
    file = io.BytesIO()
    Image.new("RGB", size, (90, 120, 150)).save(file, "PNG")
    response = ask(embedded_gateway, "detect" if model == PEOPLE else "segment", file.getvalue(), model=model)
    if size == (8_000, 8_000):
        assert response.status_code == 413
        assert response.json()["limit"] == "50000000 px"
    else:
        assert response.status_code == 200, response.text
        assert response.json()["image"] == {"width": size[0], "height": size[1]}


def _xyxy(prediction: dict[str, Any]) -> NDArray[np.float64]:
    return np.array([prediction["box"][edge] for edge in ("xmin", "ymin", "xmax", "ymax")], dtype=np.float64)


def _iou(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    sides = (np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])).clip(min=0)
    areas = (one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod()
    return float(sides.prod() / (areas - sides.prod()))
