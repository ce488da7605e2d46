"""Real photographs through HTTP, over both engines."""

from __future__ import annotations

import base64

import httpx
import numpy as np
import pytest

from service.entry_config import read_entry
from tests.e2e.conftest import photograph
from tests.gateway_server import DEFAULT_MODELS, REPOSITORY, GatewayServer

JPEG = {"Content-Type": "image/jpeg"}
CATS = {"Egyptian cat", "tiger cat", "tabby"}
COFFEES = {"espresso", "cup", "coffee mug"}


@pytest.mark.parametrize("model", DEFAULT_MODELS)
@pytest.mark.parametrize(("picture", "right"), [("chelsea", CATS), ("coffee", COFFEES)])
def test_each_model_recognises_the_cat_and_the_coffee(
    gateway: GatewayServer, model: str, picture: str, right: set[str]
) -> None:
    answer = httpx.post(
        f"{gateway.url}/v1/classify", params={"model": model}, content=photograph(picture), headers=JPEG, timeout=60
    )
    assert answer.status_code == 200, answer.text
    best = answer.json()["predictions"][0]
    assert best["label"] in right
    assert answer.json()["model"]["name"] == answer.headers["X-Model"] == model
    assert answer.json()["model"]["weights"] == "package"


def test_png_webp_multipart_and_base64_bring_the_same_answer_as_raw_jpeg(embedded_gateway: GatewayServer) -> None:
    url = f"{embedded_gateway.url}/v1/classify?model=efficientnet_lite0&top_k=1000"
    jpeg = photograph("coffee")
    with httpx.Client(timeout=60) as client:
        raw = client.post(url, content=jpeg, headers=JPEG).json()["predictions"]
        multipart = client.post(url, files={"file": ("coffee.jpg", jpeg, "image/jpeg")}).json()["predictions"]
        encoded = client.post(url, json={"image": base64.b64encode(jpeg).decode()}).json()["predictions"]
        png = client.post(url, content=photograph("coffee", "PNG"), headers={"Content-Type": "image/png"}).json()
        webp = client.post(url, content=photograph("coffee", "WEBP"), headers={"Content-Type": "image/webp"}).json()
    assert multipart == raw
    assert encoded == raw
    for other in (png, webp):
        assert other["predictions"][0]["label"] == raw[0]["label"]
        assert other["predictions"][0]["score"] == pytest.approx(raw[0]["score"], abs=0.05)


def test_several_pictures_come_back_in_their_order(gateway: GatewayServer) -> None:
    names = ["chelsea", "coffee", "rocket", "chelsea"]
    files = [("file", (name, photograph(name), "image/jpeg")) for name in names]
    params = {"model": "efficientnet_lite0"}
    together = httpx.post(f"{gateway.url}/v1/classify", params=params, files=files, timeout=60).json()["answers"]
    for name, answer in zip(names, together, strict=True):
        alone = httpx.post(
            f"{gateway.url}/v1/classify", params=params, content=photograph(name), headers=JPEG, timeout=60
        )
        expected = alone.json()["predictions"]
        assert [p["label"] for p in answer["predictions"]] == [p["label"] for p in expected]
        assert [p["score"] for p in answer["predictions"]] == pytest.approx([p["score"] for p in expected], abs=1e-4)


def test_embeddings_of_two_cat_pictures_are_closer_than_cat_and_coffee(gateway: GatewayServer) -> None:
    def embedding(picture: bytes, content_type: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        answer = httpx.post(
            f"{gateway.url}/v1/embed",
            params={"model": "efficientnet_lite0", "normalise": True},
            content=picture,
            headers={"Content-Type": content_type},
            timeout=60,
        )
        assert answer.status_code == 200, answer.text
        vector = np.array(answer.json()["embedding"])
        assert np.linalg.norm(vector) == pytest.approx(1.0)
        return vector

    cat, again = embedding(photograph("chelsea"), "image/jpeg"), embedding(photograph("chelsea", "WEBP"), "image/webp")
    coffee = embedding(photograph("coffee"), "image/jpeg")
    assert cat @ again > 0.95 > cat @ coffee


def test_models_are_listed_with_what_their_entries_say(gateway: GatewayServer) -> None:
    listed = httpx.get(f"{gateway.url}/v1/models", timeout=30).json()
    assert listed["ready"] is True
    by_name = {model["name"]: model for model in listed["models"]}
    assert set(DEFAULT_MODELS) <= set(by_name)
    for name in DEFAULT_MODELS:
        card = read_entry(REPOSITORY / name)
        assert card.accuracy is not None
        assert by_name[name]["accuracy"]["value"] == card.accuracy.value
        assert by_name[name]["weights"]["sha256"] == card.weights.sha256
        assert by_name[name]["verification"] == dict(card.verification)
        assert httpx.get(f"{gateway.url}/v1/models/{name}", timeout=30).json()["onnx_sha256"] == card.onnx_sha256


def test_a_longer_budget_brings_a_more_accurate_model(embedded_gateway: GatewayServer) -> None:
    def ask(path: str, **params: str | float) -> httpx.Response:
        url = f"{embedded_gateway.url}{path}"
        return httpx.post(url, params=params, content=photograph("chelsea"), headers=JPEG, timeout=60)

    never = ask("/v1/classify", latency_budget_ms=1)
    assert never.status_code == 422
    assert never.json()["type"] == "urn:vision-gateway:problem:budget-unsatisfiable"
    for _ in range(3):  # the router steps up only after several feasible decisions
        relaxed = ask("/v1/classify", tier="batch").json()
    assert relaxed["model"]["name"] == "efficientnet_lite2"
    dry_run = ask("/v1/route", latency_budget_ms=5000).json()
    assert dry_run["model"] == "efficientnet_lite2"
    assert len(dry_run["candidates"]) >= len(DEFAULT_MODELS)
