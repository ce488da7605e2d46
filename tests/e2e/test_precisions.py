"""INT8 variants beside their FP32 models: one repository, one gateway, whichever precision answers."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from service.entry_config import read_entry
from tests.e2e.conftest import photograph
from tests.gateway_server import GatewayServer, require_models
from tests.triton_server import TritonServer, require_triton

JPEG = {"Content-Type": "image/jpeg"}
TOLERANCE = 1e-4


def int8_entries() -> list[Path]:
    """The default repository's INT8 classifiers; skips the test where none was published."""
    found = [entry for entry in sorted(require_models().glob("*_int8")) if read_entry(entry).task == "classify"]
    if not found:
        pytest.skip("no INT8 variant in the repository: run `make export` (a CPU may be too old to gain from them)")
    return found


def classify(gateway: GatewayServer, picture: str, **params: str | int) -> httpx.Response:
    url = f"{gateway.url}/v1/classify"
    return httpx.post(url, params=params, content=photograph(picture), headers=JPEG, timeout=60)


def test_a_variant_by_its_own_name_answers_itself_and_right(default_gateway: GatewayServer) -> None:
    for entry in int8_entries():
        cat = classify(default_gateway, "chelsea", model=entry.name)
        assert cat.headers["X-Model"] == entry.name
        assert cat.json()["model"]["precision"] == "int8"
        assert cat.json()["predictions"][0]["label"] in {"Egyptian cat", "tiger cat", "tabby"}


def test_a_model_s_name_means_all_its_precisions(default_gateway: GatewayServer) -> None:
    for entry in int8_entries():
        model = read_entry(entry).variant_of
        answer = classify(default_gateway, "coffee", model=model)
        assert answer.headers["X-Model"] in {model, entry.name}
        url = f"{default_gateway.url}/v1/route"
        looked = httpx.post(url, params={"model": model}, content=photograph("coffee"), headers=JPEG, timeout=60).json()
        assert {candidate["model"] for candidate in looked["candidates"]} == {model, entry.name}


def test_the_card_of_a_variant_claims_no_more_than_its_model_s() -> None:
    for entry in int8_entries():
        int8 = read_entry(entry)
        fp32 = read_entry(entry.parent / int8.variant_of)
        assert int8.accuracy is not None
        assert fp32.accuracy is not None
        assert int8.accuracy.value <= fp32.accuracy.value
        assert int8.outputs == fp32.outputs
        assert {"agreement", "accuracy", "photographs", "faster"} <= dict(int8.verification).keys()


@pytest.mark.triton
def test_a_real_triton_serves_the_same_graph_unchanged(
    default_gateway: GatewayServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    require_triton()
    entries = int8_entries()
    folder = tmp_path_factory.mktemp("triton")
    (folder / "repository").mkdir()
    for entry in entries:
        (folder / "repository" / entry.name).symlink_to(entry, target_is_directory=True)
    with TritonServer(folder / "repository", log=folder / "log") as triton:
        settings = {"VISION_ENGINE": "triton", "VISION_TRITON_URL": triton.url}
        with GatewayServer(folder / "gateway", settings) as gateway:
            gateway.wait_for("/health/ready")
            for entry in entries:
                here, there = (scores(server, entry.name) for server in (default_gateway, gateway))
                assert max(abs(here[class_id] - there[class_id]) for class_id in here) <= TOLERANCE


def scores(gateway: GatewayServer, model: str) -> dict[int, float]:
    """Class id → probability, of all 1000 classes."""
    answer = classify(gateway, "chelsea", model=model, top_k=1000)
    assert answer.status_code == 200, answer.text
    return {p["class_id"]: p["score"] for p in answer.json()["predictions"]}
