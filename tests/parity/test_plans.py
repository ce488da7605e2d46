"""Plans of the real entries, built by the fake: what TensorRT would be given answers as the published graph does."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from export.catalogue.registry import find
from export.outcome import Outcome, Plan
from export.sources import Choice
from export.tensorrt.attempt import attempt_plan
from export.tensorrt.fake import FakeBuilder
from service.entry_config import read_entry
from service.manifest import ModelCard
from tests.gateway_server import REPOSITORY, require_models, require_starter_models


def quiet(step: str) -> None:
    pass


def attempted(row: str, name: str, tmp_path: Path, builder: FakeBuilder) -> Outcome:
    """What became of a plan for a copy of the entry."""
    for entry in {row, name}:
        shutil.copytree(REPOSITORY / entry, tmp_path / entry)
    plan = Plan(tmp_path, Choice("first"), False, tensorrt=True, engines=tmp_path / "engines")
    return attempt_plan(find(row), name, plan, builder, quiet)


def planned(row: str, name: str, tmp_path: Path) -> ModelCard:
    """The card of a copy of the entry, served from a plan."""
    outcome = attempted(row, name, tmp_path, FakeBuilder())
    assert outcome.state == "exported", outcome.reason
    return read_entry(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "gate"),
    [("unet_efficientnet_lite0_192x256", "plan_pixels"), ("ssdlite_efficientnet_lite0_256", "plan_detections")],
)
def test_what_finds_things_is_judged_by_what_it_finds(name: str, gate: str, tmp_path: Path) -> None:
    require_starter_models((name,))
    card = planned(name, name, tmp_path)
    assert (card.backend, card.version) == ("tensorrt", "2")
    assert {"plan_contract", "plan_finite", gate} <= set(dict(card.verification))


@pytest.mark.parametrize("batch", [1, 2])
def test_a_detector_s_plan_that_is_wrong_at_one_size_alone_is_refused(batch: int, tmp_path: Path) -> None:
    """TensorRT may run other kernels for one picture than for seven."""
    name = "ssdlite_efficientnet_lite0_256"
    require_starter_models((name,))
    builder = FakeBuilder()
    builder.error, builder.wrong_batch = 0.2, batch
    refused = attempted(name, name, tmp_path, builder)
    assert refused.state == "failed"
    assert "plan_detections" in refused.reason
    assert read_entry(tmp_path / name).backend == "onnxruntime"


@pytest.mark.slow
def test_int8_is_quantised_again_judged_again_and_claims_no_more(tmp_path: Path) -> None:
    require_models()
    name = "efficientnet_lite0_int8"
    if not (REPOSITORY / name).is_dir():
        pytest.skip(f"{name} not exported yet: run `make export`")
    published = read_entry(REPOSITORY / name)
    card = planned("efficientnet_lite0", name, tmp_path)
    said = dict(card.verification)
    assert said["plan_requantised"].startswith("same top-1 for 7 of 7")
    assert said["plan_top1"].endswith("≥ 97 %")
    assert card.accuracy is not None
    assert published.accuracy is not None
    assert card.accuracy.value <= published.accuracy.value
