"""The client against a real gateway, on real photographs: both clients alike, every kind of picture, drawn results."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from service.client import AsyncClient, Client, Picture, Segmentation, Unsatisfiable
from service.client.results import Answer
from tests.gateway_server import ROOT, GatewayServer, require_starter_models
from tests.pictures import encoded, photograph

CAT = ROOT / "examples" / "chelsea.jpg"
CLASSIFIER = "efficientnet_lite0_int8"
PEOPLE = {"model": "ssdlite_efficientnet_lite0_384", "score_threshold": 0.3}
MASKS = {"model": "masks_efficientnet_lite0_384", "score_threshold": 0.3}
SCENE = {"model": "unet_efficientnet_lite0_192x256"}
TASKS: list[tuple[str, dict[str, Any]]] = [("detect", PEOPLE), ("segment", MASKS), ("segment", SCENE)]


@pytest.fixture
def client(default_gateway: GatewayServer) -> Iterator[Client]:
    require_starter_models((PEOPLE["model"], MASKS["model"], SCENE["model"]))  # type: ignore[arg-type]
    with Client(default_gateway.url) as client:
        yield client


def said(answer: Answer) -> Any:
    """What an answer says of the picture, without what differs from request to request."""
    document = answer.document
    return document["model"], document["image"], document.get("predictions"), document.get("embedding")


def test_both_clients_bring_the_same(client: Client, default_gateway: GatewayServer) -> None:
    async def asked() -> list[Answer]:
        async with AsyncClient(default_gateway.url) as other:
            answers: list[Answer] = [await other.classify(CAT, model=CLASSIFIER)]
            answers += await other.classify([CAT, photograph("coffee")], model=CLASSIFIER)
            answers.append(await other.embed(CAT, model=CLASSIFIER, normalise=True))
            for task, options in TASKS:
                answers.append(await getattr(other, task)(photograph("astronaut"), **options))
            assert await other.ready()
            assert {model.name for model in await other.models()} == {model.name for model in client.models()}
            assert (await other.model(CLASSIFIER)).document["onnx_sha256"] == client.model(CLASSIFIER).document[
                "onnx_sha256"
            ]
            assert (await other.route(CAT, model=CLASSIFIER)).model == client.route(CAT, model=CLASSIFIER).model
            return answers

    waited: list[Answer] = [client.classify(CAT, model=CLASSIFIER)]
    waited += client.classify([CAT, photograph("coffee")], model=CLASSIFIER)
    waited.append(client.embed(CAT, model=CLASSIFIER, normalise=True))
    for task, options in TASKS:
        waited.append(getattr(client, task)(photograph("astronaut"), **options))
    awaited = asyncio.run(asked())
    assert len(waited) == len(awaited) == 7
    for one, other in zip(waited, awaited, strict=True):
        assert type(one) is type(other)
        assert said(one) == said(other)


def test_a_picture_is_the_same_however_it_is_handed_over(client: Client) -> None:
    image = photograph("coffee")
    file = encoded(image, "PNG")
    ways: list[Picture] = [file, image, np.asarray(image), memoryview(file)]
    answers = [client.classify(way, model=CLASSIFIER, top_k=1000) for way in ways]
    assert answers[0].label in {"espresso", "cup", "coffee mug"}
    assert answers[0].image_hw == (400, 600)
    for answer in answers[1:]:
        assert said(answer) == said(answers[0])
    assert [one.label for one in client.classify(ways, model=CLASSIFIER)] == [answers[0].label] * 4


def test_the_budget_holds_for_one_call_and_the_tier_for_all_others(default_gateway: GatewayServer) -> None:
    with Client(default_gateway.url, tier="relaxed") as client:
        assert client.classify(CAT).routing.tier == "relaxed"
        routing = client.classify(CAT, budget_ms=3000).routing
        assert (routing.tier, routing.budget_ms) == ("custom", 3000)
        with pytest.raises(Unsatisfiable) as caught:
            client.classify(CAT, budget_ms=0.01)
    assert caught.value.field == "latency_budget_ms"


@pytest.mark.parametrize(("task", "options"), TASKS, ids=[options["model"] for _, options in TASKS])
def test_the_result_is_drawn_where_it_is_and_as_the_gateway_draws_it(
    task: str, options: dict[str, Any], client: Client, default_gateway: GatewayServer
) -> None:
    image = photograph("astronaut")
    result = getattr(client, task)(image, **options)
    assert len(result) > 0
    drawn = np.asarray(result.overlay()).astype(int)
    changed = (drawn != np.asarray(image)).any(axis=2)  # (H, W)
    for thing in result:
        xmin, ymin, xmax, ymax = (round(edge) for edge in thing.box)
        assert changed[ymin:ymax, xmin:xmax].any(), thing
    if isinstance(result, Segmentation):
        assert changed[result.masks.any(axis=0)].mean() > 0.95
    theirs = httpx.post(
        f"{default_gateway.url}/v1/{task}",
        params={"overlay": "true", **options},
        content=encoded(image, "PNG"),
        headers={"Accept": "image/png"},
        timeout=60,
    )
    with Image.open(io.BytesIO(theirs.content)) as opened:
        assert np.array_equal(np.asarray(opened.convert("RGB")), drawn)


def test_what_classify_found_is_written_on_the_picture(client: Client) -> None:
    result = client.classify(CAT, model=CLASSIFIER, top_k=2)
    with Image.open(CAT) as opened:
        before = np.asarray(opened.convert("RGB"))
    changed = (np.asarray(result.overlay()) != before).any(axis=2)
    assert changed[:30, :60].any()
    assert not changed[150:].any()


def test_threads_share_a_client(client: Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.classify(CAT, model=CLASSIFIER), range(24)))
    assert {answer.label for answer in answers} == {"Egyptian cat"}
    assert len({answer.id for answer in answers}) == 24


def test_a_damaged_file_says_so(client: Client, tmp_path: Path) -> None:
    (tmp_path / "half.jpg").write_bytes(CAT.read_bytes()[:4000])
    with pytest.raises(Exception, match="truncated") as caught:
        client.classify(tmp_path / "half.jpg")
    assert type(caught.value).__name__ == "PictureRefused"
