"""INT8 variants of a real network: made, judged, found up to date, and refused when calibrated on nonsense."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.catalogue.registry import find
from export.outcome import Plan
from export.quantisation.attempt import attempt_int8
from export.quantisation.float_graph import float_graph
from export.quantisation.identity import fitting_ranges
from export.quantisation.judge import measure
from export.quantisation.pictures import read_pictures
from export.quantisation.quantise import quantise
from export.quantisation.ranges import shipped_ranges
from export.sources import Choice
from export.upstream import upstream
from service.entry_config import read_entry
from service.entry_files import onnx_path
from tests.gateway_server import require_models, shared_data

ROW = find("efficientnet_lite0")
PLAN = Plan(Path(), Choice("first"), False, int8=frozenset({ROW.name}))


def quiet(step: str) -> None:
    pass


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with nothing but the real FP32 entry."""
    shutil.copytree(require_models() / ROW.name, tmp_path / "repository" / ROW.name)
    return tmp_path / "repository"


def names(repository: Path) -> set[str]:
    return {path.name for path in repository.iterdir()}


def test_a_variant_is_made_from_the_shipped_ranges_without_a_picture(repository: Path) -> None:
    fp32 = read_entry(repository / ROW.name)
    plan = replace(PLAN, repository=repository)
    outcome = attempt_int8(ROW, fp32, plan, quiet)
    if "faster" in outcome.reason:  # a CPU without dot-product instructions: refused, and for nothing else
        assert outcome.reason.startswith("refused by faster: ")
        return
    assert outcome.state == "exported", outcome.reason
    card = read_entry(repository / "efficientnet_lite0_int8")
    assert (card.variant_of, card.precision, card.backend) == (ROW.name, "int8", "onnxruntime")
    assert card.weights == fp32.weights
    assert card.onnx_bytes < 0.3 * fp32.onnx_bytes
    assert {"agreement", "accuracy", "photographs", "faster", "batch"} <= dict(card.verification).keys()
    assert fp32.accuracy is not None
    assert card.accuracy is not None
    assert card.accuracy.value <= fp32.accuracy.value
    assert "held-out photographs" in card.accuracy.source
    assert (repository / card.name / "LICENSE.weights").is_file()
    assert attempt_int8(ROW, fp32, plan, quiet).state == "up to date"


def test_a_variant_calibrated_on_plain_grey_is_refused_and_not_published(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "grey").mkdir()
    for index in range(60):
        Image.new("RGB", (256, 256), (index + 100,) * 3).save(tmp_path / "grey" / f"{index}.png")
    plan = replace(PLAN, repository=repository, calibration=tmp_path / "grey")
    outcome = attempt_int8(ROW, read_entry(repository / ROW.name), plan, quiet)
    assert outcome.state == "failed"
    assert "photographs: same top-1 for" in outcome.reason
    assert outcome.command.endswith(f"--calibration {tmp_path / 'grey'}")
    assert names(repository) == {ROW.name}


@pytest.mark.parametrize("name", ["efficientnet_lite0", "mobilenet_v2"])
def test_the_shipped_measurement_can_be_repeated(name: str, tmp_path: Path) -> None:
    pictures = read_pictures(shared_data("imagenet"), upstream(find(name)))
    fp32 = onnx_path(require_models() / name)
    ranges = fitting_ranges(read_entry(require_models() / name))
    quantise(float_graph(fp32), ranges, tmp_path / "int8.onnx")
    found = measure(fp32, tmp_path / "int8.onnx", pictures.judging)
    assert found.pictures == ranges.measured.pictures
    # Another processor rounds a picture or two the other way.
    assert found.agreeing == pytest.approx(ranges.measured.agreeing, abs=2)
    assert found.int8_right == pytest.approx(ranges.measured.int8_right, abs=2)


def test_the_split_of_the_labelled_photographs_never_changes() -> None:
    folder = shared_data("imagenet")
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        classes = {line["file"]: int(line["class_id"]) for line in csv.DictReader(file)}
    ordered = np.array([classes[file] for file in sorted(classes)])
    pictures = read_pictures(folder, upstream(ROW))
    assert pictures.judging.classes is not None
    assert pictures.judging.classes.tolist() == ordered[np.arange(len(ordered)) % 3 != 0].tolist()
    ranges = shipped_ranges(ROW.name)
    assert ranges is not None
    assert ranges.measured.pictures == len(pictures.judging.classes)
