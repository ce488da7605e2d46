"""Whole exports, from row to entry, against the libraries and against labelled photographs."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from export.catalogue.registry import DEFAULT_NAMES, find
from export.catalogue.row import Row
from export.errors import GateFailure, SourceUnreachable
from export.export_row import export_row
from export.reference import normalised
from export.repository import up_to_date
from export.sources import Choice, sources_of
from export.upstream import upstream
from export.weights import LICENCE_FILE, load
from service.entry_config import read_entry
from service.entry_files import onnx_path

pytestmark = [
    # torch's exporter uses what its own next version will not have.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),
    pytest.mark.filterwarnings("ignore::FutureWarning:torch"),
]

ROOT = Path(__file__).parents[2]
PHOTOGRAPHS = Path(os.environ.get("VISION_DATA") or ROOT.parent / "shared" / "data") / "imagenet"

# Top-1 on the 200 easy photographs, as torch gives it with these weights and the library's own preprocessing.
EXPECTED_TOP1_PERCENT = {
    "efficientnet_lite0": 90.0,
    "efficientnet_lite1": 89.5,
    "efficientnet_lite2": 93.0,
    "mobilenet_v2": 87.5,
}


def quiet(step: str) -> None:
    pass


# A small network of timm's own making, with everything a large one has.
TINY = replace(
    find("efficientnet_lite0"),
    name="tiny",
    network=replace(find("efficientnet_lite0").network, constructor="test_efficientnet"),
    weights=(),
)


def tiny_row() -> Row:
    published = upstream(TINY)
    return replace(TINY, resize=published.resize, mean=published.mean, std=published.std)


def test_random_weights_are_exported_verified_and_called_untrained(tmp_path: Path) -> None:
    row = tiny_row()
    export_row(row, sources_of(row, Choice("random")), tmp_path, quiet)
    card = read_entry(tmp_path / "tiny")
    assert not card.weights.trained
    assert card.accuracy is None
    assert {"error", "independent_rows", "batch", "top1"} <= dict(card.verification).keys()
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]
    assert card.profile is not None
    assert card.profile.beta_ms > 0
    assert up_to_date(tmp_path, row, sources_of(row, Choice("random"))) == card


def test_a_file_of_one_s_own_gets_its_digest_and_not_the_published_accuracy(tmp_path: Path) -> None:
    row = tiny_row()
    trained = load(row, sources_of(row, Choice("random"))).module
    torch.save({"model": {f"module.{k}": v for k, v in trained.state_dict().items()}}, tmp_path / "own.pth")
    sources = sources_of(row, Choice("file", tmp_path / "own.pth"))
    card = export_row(row, sources, tmp_path / "repository", quiet)
    assert card.weights.source == "file"
    assert card.weights.origin == "own.pth"
    assert len(card.weights.sha256) == 64
    assert card.accuracy is None


def test_a_row_with_the_wrong_mean_is_never_published(tmp_path: Path) -> None:
    row = replace(tiny_row(), mean=(0.3, 0.3, 0.3))
    with pytest.raises(GateFailure, match="error"):
        export_row(row, sources_of(row, Choice("random")), tmp_path, quiet)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="session")
def entry_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Name → an up-to-date entry: the checkout's own if it has one, else exported now, once."""
    made = tmp_path_factory.mktemp("repository")

    def entry(name: str) -> Path:
        row = find(name)
        sources = sources_of(row, Choice("package"))
        for repository in (ROOT / "model_repository", made):
            if up_to_date(repository, row, sources):
                return repository / name
        try:
            export_row(row, sources, made, quiet)
        except SourceUnreachable as err:
            pytest.skip(f"no weights for {name}: {err}")
        return made / name

    return entry


@pytest.mark.parametrize("name", [name for name in DEFAULT_NAMES if find(name).task == "classify"])
def test_a_default_entry_is_whole_and_says_where_it_comes_from(name: str, entry_of: Callable[[str], Path]) -> None:
    entry = entry_of(name)
    card = read_entry(entry)
    assert card.weights.source == "package"
    assert card.accuracy == find(name).accuracy
    assert card.params / 1e6 == pytest.approx(find(name).params_millions, abs=0.001)
    # Nothing stored twice: four bytes a parameter, and little else.
    assert card.onnx_bytes < 4.1 * card.params
    assert (entry / LICENCE_FILE).read_text(encoding="utf-8").strip()


@cache
def labelled(row: Row) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """((N, H, W, 3) pixels by the library's own transform, (N,) classes)."""
    if not (PHOTOGRAPHS / "labels.csv").is_file():
        pytest.skip("the labelled photographs are not here (VISION_DATA names their folder)")
    source = upstream(row)
    with (PHOTOGRAPHS / "labels.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    pixels = []
    for line in lines:
        with Image.open(PHOTOGRAPHS / "images" / line["file"]) as picture:
            pixels.append(source.pixels(picture.convert("RGB")))
    return np.stack(pixels), np.array([int(line["class_id"]) for line in lines])


def top1_percent(probabilities: NDArray[np.float32], classes: NDArray[np.int64]) -> float:
    return 100 * float((probabilities.argmax(axis=1) == classes).mean())


@pytest.mark.parametrize("name", EXPECTED_TOP1_PERCENT)
def test_top1_of_the_exported_graph(name: str, entry_of: Callable[[str], Path]) -> None:
    entry = entry_of(name)
    pixels, classes = labelled(find(name))
    session = ort.InferenceSession(onnx_path(entry), providers=["CPUExecutionProvider"])
    batches = [session.run(["probabilities"], {"image": part})[0] for part in np.array_split(pixels, 13)]
    assert top1_percent(np.concatenate(batches), classes) == pytest.approx(EXPECTED_TOP1_PERCENT[name], abs=0.01)


def test_top1_of_the_library_s_own_module_is_the_same() -> None:
    row = find("efficientnet_lite0")
    pixels, classes = labelled(row)
    try:
        module = load(row, sources_of(row, Choice("package"))).module
    except SourceUnreachable as err:
        pytest.skip(f"no weights: {err}")
    with torch.inference_mode():
        parts = np.array_split(pixels, 13)
        logits = [module(normalised(part, row.mean, row.std).float()).numpy() for part in parts]
    assert top1_percent(np.concatenate(logits), classes) == pytest.approx(EXPECTED_TOP1_PERCENT[row.name], abs=0.01)
