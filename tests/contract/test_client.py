"""The client and the gateway agree on words, types and pixels; and the client needs nothing of the server."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import fields
from typing import get_args, get_type_hints

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from service import schemas, settings
from service.client import UNSEEN, AsyncClient, RequestRefused, Segmentation
from service.client import options as client_options
from service.client.results import Answer, Candidate, Classification, Embedding, Model, Routing
from service.engines.fake import FakeEngine
from service.manifest import SegmentKind, Task
from service.settings import Settings
from tests.cards import classifier, detector, segmenter
from tests.conftest import FakeGateway, FakeGateways
from tests.gateway_server import ROOT
from tests.pictures import encoded

HEAVY = {"fastapi", "starlette", "uvicorn", "onnxruntime", "pydantic", "pydantic_settings", "tritonclient", "google"}
OF_THE_CLIENT = {"service", "httpx", "numpy", "PIL", "anyio"}


def test_importing_the_client_loads_nothing_of_the_server() -> None:
    program = "import service.client, sys; print(*sys.modules)"
    fresh = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = fresh.stdout.split()
    assert {name.split(".")[0] for name in loaded} >= OF_THE_CLIENT
    assert not {name.split(".")[0] for name in loaded} & HEAVY
    ours = {name for name in loaded if name.startswith("service.") and not name.startswith("service.client")}
    assert ours == {"service.drawing", "service.masks", "service.outlines", "service.upright"}


def test_client_and_gateway_know_the_same_tiers_tasks_and_kinds() -> None:
    assert get_args(client_options.Tier) == get_args(settings.Tier)
    assert set(get_args(client_options.Task)) == set(get_args(Task))
    assert set(get_args(client_options.Kind)) == set(get_args(SegmentKind))


@pytest.mark.parametrize(
    ("options", "query"),
    [
        (client_options.ClassifyOptions, schemas.ClassifyQuery),
        (client_options.EmbedOptions, schemas.EmbedQuery),
        (client_options.DetectOptions, schemas.DetectQuery),
        (client_options.SegmentOptions, schemas.SegmentQuery),
        (client_options.RouteOptions, schemas.RouteTaskQuery),
    ],
)
def test_every_parameter_of_the_api_is_an_option_of_the_client(options: type, query: type[schemas.RouteQuery]) -> None:
    offered = get_type_hints(options).keys() - {"timeout_s"}
    # Masks always travel as run lengths, and the client draws by itself.
    wanted = query.model_fields.keys() - {"mask_format", "overlay", "latency_budget_ms"} | {"budget_ms"}
    assert offered == wanted


def test_results_have_the_fields_of_the_wire() -> None:
    pairs: list[tuple[type, type[schemas.Wire], set[str]]] = [
        (Model, schemas.ModelRef, set()),
        (Routing, schemas.Routing, {"quantile"}),
        (Candidate, schemas.Candidate, set()),
    ]
    for ours, wire, left_out in pairs:
        assert {field.name for field in fields(ours)} == wire.model_fields.keys() - left_out
    assert {field.name for field in fields(Answer)} - {"document", "source", "image_hw"} == (
        schemas.Answer.model_fields.keys() - {"image"}
    )


# --- over the fake engine


@pytest.fixture
async def gateway() -> AsyncIterator[FakeGateway]:
    cards = [
        classifier("fake"),
        detector("finder"),
        segmenter("things", "instance"),
        segmenter("scene", "semantic"),
        segmenter("both", "panoptic"),
    ]
    async with FakeGateways(Settings(workers=2), FakeEngine(cards)) as opened:
        yield opened


@pytest.fixture
async def client(gateway: FakeGateway) -> AsyncIterator[AsyncClient]:
    transport = httpx.ASGITransport(gateway.app, raise_app_exceptions=False)
    async with AsyncClient("http://gateway", transport=transport) as client:
        yield client


def colours(width: int = 128, height: int = 96) -> Image.Image:
    """A red and a blue rectangle on grey: two things for the fake detector."""
    image = Image.new("RGB", (width, height), (90, 90, 90))
    pen = ImageDraw.Draw(image)
    pen.rectangle((8, 8, 47, 55), fill=(255, 0, 0))
    pen.rectangle((72, 24, 119, 87), fill=(0, 0, 255))
    return image


async def test_boxes_scores_and_labels_come_as_arrays_that_cannot_be_written(client: AsyncClient) -> None:
    found = await client.detect(colours(), score_threshold=0.0)
    assert set(found.labels) == {"red", "blue"}
    assert len(found) == 2
    assert found.boxes_image_px.shape == (2, 4)
    arrays = found.boxes_image_px, found.scores, found.class_ids
    assert [str(array.dtype) for array in arrays] == ["float32", "float32", "int64"]
    boxes = [[p["box"][edge] for edge in ("xmin", "ymin", "xmax", "ymax")] for p in found.document["predictions"]]
    assert np.allclose(found.boxes_image_px, boxes)
    assert [thing.label for thing in found] == list(found.labels)
    for array in arrays:
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    with pytest.raises(AttributeError):
        found.id = "x"  # type: ignore[misc]


async def test_nothing_found_is_arrays_of_length_0(client: AsyncClient) -> None:
    grey = Image.new("RGB", (40, 30), (90, 90, 90))
    found = await client.detect(grey)
    assert (len(found), found.boxes_image_px.shape, found.scores.shape) == (0, (0, 4), (0,))
    assert np.array_equal(np.asarray(found.overlay()), np.asarray(grey))
    things = await client.segment(grey, kind="instance")
    assert things.masks.shape == (0, 30, 40)
    assert things.class_map is None
    assert things.segment_map is None


@pytest.mark.parametrize("kind", ["instance", "semantic", "panoptic"])
async def test_masks_and_maps_are_those_that_the_gateway_sends_as_png(
    kind: client_options.Kind, client: AsyncClient, gateway: FakeGateway
) -> None:
    image = colours()
    found = await client.segment(image, kind=kind)
    assert isinstance(found, Segmentation)
    assert (found.masks.shape, str(found.masks.dtype)) == ((len(found), 96, 128), "bool")
    assert tuple(int(mask.sum()) for mask in found.masks) == found.areas_px
    png = await _as_png(gateway, image, kind)
    if kind == "instance":
        # The surest is on top there; two that overlap must not hide one another here.
        assert [int((png == number).sum()) for number in range(1, len(found) + 1)] == list(found.areas_px)
    elif kind == "semantic":
        assert found.class_map is not None
        assert np.array_equal(found.class_map, png)
        assert np.isnan(found.scores).all()
    else:
        assert found.segment_map is not None
        assert found.class_map is not None
        # Numbered otherwise, the same regions.
        pairs = set(zip(found.segment_map.ravel().tolist(), png.ravel().tolist(), strict=True))
        assert len(pairs) == len({ours for ours, _ in pairs}) == len({theirs for _, theirs in pairs})
        for number, thing in enumerate(found, start=1):
            assert set(found.class_map[found.segment_map == number].tolist()) == {thing.class_id}
        assert set(found.class_map[found.segment_map == 0].tolist()) == {UNSEEN}


async def _as_png(gateway: FakeGateway, image: Image.Image, kind: str) -> NDArray[np.uint8]:
    asked = await gateway.client.post(
        "/v1/segment",
        params={"kind": kind, "mask_format": "png"},
        content=encoded(image, "PNG"),
        headers={"Accept": "image/png", "Content-Type": "image/png"},
    )
    assert asked.status_code == 200, asked.text
    with Image.open(io.BytesIO(asked.content)) as opened:
        return np.asarray(opened, np.uint8)


@pytest.mark.parametrize(("task", "kind"), [("detect", None), ("segment", "semantic"), ("segment", "instance")])
async def test_the_clients_overlay_is_the_gateways(
    task: str, kind: str | None, client: AsyncClient, gateway: FakeGateway
) -> None:
    image, asked = colours(), {"late": "return", **({"kind": kind} if kind else {})}
    found = await getattr(client, task)(image, **asked)
    drawn = await gateway.client.post(
        f"/v1/{task}",
        params={"overlay": "true", **asked},
        content=encoded(image, "PNG"),
        headers={"Accept": "image/png"},
    )
    with Image.open(io.BytesIO(drawn.content)) as opened:
        assert np.array_equal(np.asarray(opened.convert("RGB")), np.asarray(found.overlay()))


async def test_a_list_is_answered_with_a_list_in_its_order_however_long(client: AsyncClient) -> None:
    images = [Image.new("RGB", (32, 32), (level, level, level)) for level in range(0, 160, 10)]
    assert len(images) == 16
    answers = await client.classify(images, top_k=1)
    assert all(isinstance(answer, Classification) for answer in answers)
    assert [int(answer.class_ids[0]) for answer in answers] == list(range(0, 160, 10))
    (alone,) = await client.classify(images[3:4], top_k=1)
    assert alone.class_ids[0] == 30
    vectors = await client.embed(tuple(images[:2]), normalise=True)
    assert all(isinstance(one, Embedding) and one.vector.dtype == np.float32 for one in vectors)
    with pytest.raises(RequestRefused) as caught:
        await client.classify([*images, images[0]])
    assert (caught.value.code, caught.value.limit) == ("too-large", "16 pictures")


async def test_which_of_several_pictures_is_at_fault_is_said(client: AsyncClient) -> None:
    with pytest.raises(RequestRefused) as caught:
        await client.classify([colours(), b"nonsense"])
    assert caught.value.field == "images[1]"


async def test_the_choice_is_explained_with_and_without_a_picture(client: AsyncClient) -> None:
    chosen = await client.route(task="segment", kind="panoptic")
    assert (chosen.model, chosen.image_hw, chosen.refused) == ("both", None, None)
    assert chosen.routing is not None
    assert [candidate.chosen for candidate in chosen.candidates] == [True]
    refused = await client.route(colours(), budget_ms=0.001)
    assert refused.image_hw == (96, 128)
    assert refused.routing is None
    assert refused.refused is not None
    assert "0.001 ms" in refused.refused


async def test_the_models_are_listed_and_one_has_the_names_of_its_classes(client: AsyncClient) -> None:
    models = await client.models()
    assert {model.name for model in models} == {"fake", "finder", "things", "scene", "both"}
    assert all(model.class_names == () for model in models)
    finder = await client.model("finder")
    assert finder.class_names == ("red", "green", "blue")
    assert (finder.task, finder.input_hw, finder.classes) == ("detect", (64, 64), 3)
    assert finder.accuracy is not None
    assert (finder.accuracy.value, finder.accuracy.metric) == (60.0, "AP50")


async def test_readiness_follows_the_gateway(client: AsyncClient, gateway: FakeGateway) -> None:
    assert await client.ready()
    gateway.gateway.fleet.engine_lost()
    readiness = await client.ready()
    assert not readiness
    assert "does not answer" in readiness.detail
