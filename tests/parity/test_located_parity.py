"""Detectors and segmenters: each head goes through every gate, and answers as its library's own pipeline does.

Random seeded weights. ONNX Runtime at batch 1, 2 and 3, against the library's own network and post-processing in
torch, on the same pictures; for one of each kind of answer also through HTTP.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

from export.located import pictures
from export.verify_located import LEAST_AGREEMENT, LEAST_MATCHED, iou, paired
from service.entry_files import onnx_path
from service.images import Geometry
from service.tasks.detect import Detection
from service.tasks.segment import paste_masks
from tests.gateway_server import GatewayServer
from tests.parity.library_pipelines import Arrays, pipeline
from tests.parity.located_rows import EVERY_DAY, LOCATED, NOT_EVERY_DAY, Made, make_entry

pytestmark = [
    # torch's exporters use what their own next version will not have, and the older one warns of what it traces.
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.timeout(3000),
]

LEAST_IOU = 0.99
# Mask2Former's masks of the frame against ours, cut out of it to 56×56 cells and pasted: random masks are speckles, of
# which no such detour keeps all.
LEAST_MASK_IOU = 0.7

Cache = Callable[[str], Made]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """Name → the entry, exported once for all tests of this file."""
    repository, entries = tmp_path_factory.mktemp("repository"), dict[str, Made]()

    def get(name: str) -> Made:
        if name not in entries:
            row = EVERY_DAY.get(name) or NOT_EVERY_DAY.get(name) or LOCATED[name]
            entries[name] = make_entry(row, repository)
        return entries[name]

    return get


def check(one: Made) -> None:
    """Every gate has passed, or the entry would not be there; now the same against the library itself."""
    assert one.gates["batch"].startswith("ran at 1, 2, ")
    library = pipeline(one.row)
    if library is None:
        return
    pixels = pictures(one.row.resize, 3)
    with torch.inference_mode():
        expected = [library(one.row, one.module, picture) for picture in pixels]
    session = ort.InferenceSession(onnx_path(one.entry), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    counted = [(0, 0)]
    for batch in (1, 2, 3):
        answers = dict(zip(names, session.run(names, {"image": pixels[:batch]}), strict=True))
        for i in range(batch):
            ours = {name: np.asarray(array[i], np.float64) for name, array in answers.items()}
            counted.append(same(ours, expected[i]))
    alone, every = (sum(column) for column in zip(*counted, strict=True))
    assert alone <= (1 - LEAST_MATCHED) * every, f"{alone} of {every} things have no counterpart"


def same(ours: Arrays, theirs: Arrays) -> tuple[int, int]:
    """(things without a counterpart, things in all). Maps, boxes and masks are judged here."""
    if "class_map" in theirs:
        agree = ours["class_map"] == theirs["class_map"]
        assert agree.mean() >= LEAST_AGREEMENT
        if "segments" in theirs:  # numbered otherwise, and of stuff the library makes several: inside one of theirs
            for number in np.unique(theirs["segments"][theirs["class_map"] < 80]):
                inside = ours["segment_map"][(theirs["segments"] == number) & (theirs["class_map"] < 80) & agree]
                assert len(np.unique(inside)) <= 1
        return 0, 0
    pairs, alone = paired(theirs, ours)
    more_pairs, more_alone = paired(ours, theirs)
    assert pairs, "the library finds nothing: that compares nothing"
    assert min(iou(theirs["boxes"][i], ours["boxes"][j : j + 1])[0] for i, j in pairs) >= LEAST_IOU
    if "masks" in theirs:
        cells = [((theirs["masks"][i] > 0.5) == (ours["masks"][j] > 0.5)).mean() for i, j in pairs]
        assert np.mean(cells) >= LEAST_AGREEMENT
    if "frames" in theirs:
        same_masks(ours, theirs, pairs)
    single = len(alone) + len(more_alone)
    return single, single + len(pairs) + len(more_pairs)


def same_masks(ours: Arrays, theirs: Arrays, pairs: list[tuple[int, int]]) -> None:
    """Masks as the service pastes them, against those that the library has pasted."""
    size_hw = (int(theirs["frames"].shape[1]), int(theirs["frames"].shape[2]))
    geometry = Geometry(image_hw=size_hw, model_hw=size_hw, scale_yx=(1.0, 1.0), offset_yx=(0.0, 0.0))
    overlaps = []
    for i, j in pairs:
        (mask,) = paste_masks(ours, geometry, [Detection("", 0, 1.0, (0.0, 0.0, 0.0, 0.0), j)])
        pasted = np.zeros(size_hw, bool)
        (top, left), (height, width) = mask.top_left, mask.pixels.shape
        pasted[top : top + height, left : left + width] = mask.pixels
        frame = theirs["frames"][i] > 0.5
        if frame.sum() >= 100:  # of a few pixels, one more or less is much
            overlaps.append((pasted & frame).sum() / (pasted | frame).sum())
    assert not overlaps or np.mean(overlaps) >= LEAST_MASK_IOU


@pytest.mark.parametrize("name", EVERY_DAY)
def test_the_head_answers_as_its_library_does(name: str, made: Cache) -> None:
    check(made(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", NOT_EVERY_DAY)
def test_the_other_heads_do_too(name: str, made: Cache) -> None:
    check(made(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", LOCATED)
def test_every_row_does_at_its_own_size(name: str, tmp_path: Path) -> None:
    check(make_entry(LOCATED[name], tmp_path))


def test_no_head_is_left_out() -> None:
    tried = {row.network.head for row in (*EVERY_DAY.values(), *NOT_EVERY_DAY.values())}
    assert {row.network.head for row in LOCATED.values()} - tried == {"unet_2015"}  # its size is fixed by its paper


OVER_HTTP = (
    "small_ssdlite320_mobilenet_v3_large",
    "small_detr_resnet50",
    "small_lraspp_mobilenet_v3_large",
    "small_mask2former_swin_tiny_panoptic",
)


@pytest.fixture(scope="module")
def gateway(made: Cache, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayServer]:
    entries = [made(name).entry for name in OVER_HTTP]
    log = tmp_path_factory.mktemp("log") / "gateway.log"
    settings = {"VISION_REPOSITORY": str(entries[0].parent), "VISION_ENGINE": "embedded"}
    with GatewayServer(log, settings) as server:
        server.wait_for("/health/ready")
        yield server


def ask(gateway: GatewayServer, path: str, picture: NDArray[np.uint8], **params: str | float) -> dict[str, Any]:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    headers = {"Content-Type": "image/png"}
    response = httpx.post(
        f"{gateway.url}/v1/{path}", params=params, content=file.getvalue(), headers=headers, timeout=300
    )
    assert response.status_code == 200, response.text
    document: dict[str, Any] = response.json()
    return document


@pytest.mark.parametrize("name", [name for name in OVER_HTTP if EVERY_DAY[name].task == "detect"])
def test_a_detector_answers_over_http_as_its_library(name: str, made: Cache, gateway: GatewayServer) -> None:
    one = made(name)
    picture = pictures(one.row.resize, 3)[1]
    library = pipeline(one.row)
    assert library is not None
    with torch.inference_mode():
        theirs = library(one.row, one.module, picture)
    answer = ask(gateway, "detect", picture, model=name, score_threshold=0.1, max_detections=300)
    assert answer["model"]["weights"] == "untrained"
    found = answer["predictions"]
    size = np.array([picture.shape[1], picture.shape[0]] * 2)
    boxes = np.array([[p["box"][edge] for edge in ("xmin", "ymin", "xmax", "ymax")] for p in found]) / size
    for score, kind, box in zip(theirs["scores"], theirs["classes"], theirs["boxes"], strict=True):
        if score < 0.11 or (box[2:] - box[:2]).min() * picture.shape[0] < 2:
            continue
        overlap = iou(box, boxes)
        assert any(overlap[i] >= LEAST_IOU and p["class_id"] == kind for i, p in enumerate(found))


def test_a_semantic_map_comes_over_http_as_the_library_s(made: Cache, gateway: GatewayServer) -> None:
    one = made("small_lraspp_mobilenet_v3_large")
    picture = pictures(one.row.resize, 3)[1]
    library = pipeline(one.row)
    assert library is not None
    with torch.inference_mode():
        theirs = library(one.row, one.module, picture)["class_map"]
    found = ask(gateway, "segment", picture, model=one.row.name, kind="semantic", mask_format="rle")["predictions"]
    ours = np.full(theirs.shape, 255.0)
    for segment in found:
        ours[coco.decode(segment["rle"]).astype(bool)] = segment["class_id"]
    assert (ours == theirs).mean() >= LEAST_AGREEMENT


def test_panoptic_segments_come_over_http_as_the_library_s(made: Cache, gateway: GatewayServer) -> None:
    one = made("small_mask2former_swin_tiny_panoptic")
    picture = pictures(one.row.resize, 3)[1]
    library = pipeline(one.row)
    assert library is not None
    with torch.inference_mode():
        theirs = library(one.row, one.module, picture)["class_map"]
    found = ask(gateway, "segment", picture, model=one.row.name, kind="panoptic", mask_format="rle")["predictions"]
    assert len(found) > 1
    ours = np.full(theirs.shape, 255.0)
    for segment in found:
        ours[coco.decode(segment["rle"]).astype(bool)] = segment["class_id"]
    assert (ours == theirs).mean() >= LEAST_AGREEMENT
