"""INT8 detectors and segmenters beside their FP32 entries: what `make serve` serves, asked through HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools import mask as coco

from service.entry_config import read_entry
from service.manifest import ModelCard
from tests.e2e.conftest import photograph
from tests.gateway_server import REPOSITORY, GatewayServer, require_models
from tests.triton_server import TritonServer, require_triton

# pycocotools was compiled for NumPy 1.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

JPEG = {"Content-Type": "image/jpeg"}
BOXES, MASKS, SCENES = "ssdlite_efficientnet_lite0", "masks_efficientnet_lite0", "unet_efficientnet_lite0"
HEADS = {BOXES: {"task": "detect"}, MASKS: {"task": "segment"}, SCENES: {"task": "segment"}}


def int8_heads(model: str = "") -> list[ModelCard]:
    """The INT8 entries of the heads; skips the test where none was published."""
    folders = [path for path in sorted(require_models().glob(f"{model}*_int8"))]
    cards = [card for card in map(read_entry, folders) if card.task != "classify"]
    if not cards:
        pytest.skip("no INT8 head in the repository: run `make export` (a CPU may be too old to gain from them)")
    return cards


def fp32_of(card: ModelCard) -> ModelCard:
    return read_entry(REPOSITORY / card.name.removesuffix("_int8"))


def ask(gateway: GatewayServer, path: str, **params: str | float) -> dict[str, Any]:
    url = f"{gateway.url}/v1/{path}"
    response = httpx.post(url, params=params, content=photograph("astronaut"), headers=JPEG, timeout=120)
    assert response.status_code == 200, response.text
    document: dict[str, Any] = response.json()
    return document


def answer(gateway: GatewayServer, card: ModelCard) -> dict[str, Any]:
    threshold = {} if card.segment_kind == "semantic" else {"score_threshold": 0.3}
    return ask(gateway, card.task, model=card.name, **threshold)


def edges(thing: dict[str, Any]) -> NDArray[np.float64]:
    return np.array([thing["box"][edge] for edge in ("xmin", "ymin", "xmax", "ymax")], dtype=np.float64)


def test_the_card_claims_no_more_than_fp32_s_and_says_what_was_measured() -> None:
    for card in int8_heads():
        fp32 = fp32_of(card)
        assert card.accuracy is not None
        assert fp32.accuracy is not None
        assert card.accuracy.value <= fp32.accuracy.value
        assert card.accuracy.value >= 0.99 * fp32.accuracy.value
        assert "with INT8 and" in card.accuracy.source
        assert (card.outputs, card.resize, card.variant_of) == (fp32.outputs, fp32.resize, fp32.variant_of)
        assert card.profile is not None
        assert fp32.profile is not None
        if card.profile.device == fp32.profile.device:
            assert dict(card.profile.p50_ms_by_batch)[1] < dict(fp32.profile.p50_ms_by_batch)[1]


def test_by_its_own_name_each_finds_the_astronaut_where_fp32_does(default_gateway: GatewayServer) -> None:
    for card in [*int8_heads(BOXES), *int8_heads(MASKS)]:
        int8, fp32 = answer(default_gateway, card), answer(default_gateway, fp32_of(card))
        assert int8["model"]["name"] == card.name
        assert int8["model"]["precision"] == "int8"
        one, other = (document["predictions"][0] for document in (int8, fp32))
        assert one["label"] == other["label"] == "person"
        assert one["score"] == pytest.approx(other["score"], abs=0.1)
        assert np.abs(edges(one) - edges(other)).max() < 0.1 * 512
        if card.task == "segment":
            a, b = (coco.decode(thing["rle"]).astype(bool) for thing in (one, other))
            assert (a & b).sum() / (a | b).sum() > 0.85


def test_a_map_of_classes_is_nearly_fp32_s(default_gateway: GatewayServer) -> None:
    for card in int8_heads(SCENES):
        maps = [
            {p["label"]: coco.decode(p["rle"]).astype(bool) for p in answer(default_gateway, which)["predictions"]}
            for which in (card, fp32_of(card))
        ]
        agreeing = sum((maps[0][label] & maps[1][label]).sum() for label in maps[0].keys() & maps[1].keys())
        assert agreeing / 512**2 > 0.8  # an astronaut is no road scene


@pytest.mark.parametrize("model", HEADS)
def test_the_model_s_name_means_every_size_in_both_precisions(default_gateway: GatewayServer, model: str) -> None:
    sizes = {fp32_of(card).name for card in int8_heads(model)}
    int8 = {card.name for card in int8_heads(model)}
    looked = ask(default_gateway, "route", model=model, **HEADS[model])
    assert {candidate["model"] for candidate in looked["candidates"]} >= sizes | int8


@pytest.mark.parametrize(("path", "kind"), [("detect", ""), ("segment", "instance"), ("segment", "semantic")])
def test_a_tier_has_every_size_in_both_precisions_to_choose_from(
    default_gateway: GatewayServer, path: str, kind: str
) -> None:
    least = {"detect": BOXES, "instance": MASKS, "semantic": SCENES}[kind or path]
    found = ask(default_gateway, path, tier="batch", **({"kind": kind} if kind else {}))
    assert found["model"]["name"].startswith(least)
    assert found["routing"]["candidates"] >= 2 * len(int8_heads(least))


@pytest.mark.triton
def test_a_real_triton_serves_the_same_graphs_unchanged(
    default_gateway: GatewayServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    require_triton()
    cards = [int8_heads(model)[0] for model in HEADS]
    folder: Path = tmp_path_factory.mktemp("triton")
    (folder / "repository").mkdir()
    for card in cards:
        (folder / "repository" / card.name).symlink_to(REPOSITORY / card.name, target_is_directory=True)
    with TritonServer(folder / "repository", log=folder / "log") as triton:
        settings = {"VISION_ENGINE": "triton", "VISION_TRITON_URL": triton.url}
        with GatewayServer(folder / "gateway", settings) as gateway:
            gateway.wait_for("/health/ready")
            for card in cards:
                here, there = answer(default_gateway, card), answer(gateway, card)
                assert len(here["predictions"]) == len(there["predictions"]) > 0
                for one, other in zip(here["predictions"], there["predictions"], strict=True):
                    assert one["label"] == other["label"]
                    assert edges(one) == pytest.approx(edges(other), abs=0.5 if card.task == "detect" else 4)
