"""INT8 variants in a run: asked for, up to date, stale, and refused in one sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.catalogue.registry import find
from export.errors import ExportError
from export.fp16.attempt import attempt_fp16
from export.fp16.identity import fp16_name
from export.outcome import Outcome, Plan
from export.quantisation.attempt import attempt_int8, withdraw_stranger
from export.quantisation.identity import NoRanges, fitting_ranges, int8_name, int8_recipe
from export.quantisation.picture_folder import FEWEST, TooFewPictures, picture_files, pictures_identity
from export.quantisation.pictures import CALIBRATING, read_pictures
from export.quantisation.ranges import shipped_ranges
from export.sources import Choice
from export.upstream import Upstream, upstream
from service.entry_config import read_entry, write_entry
from service.entry_files import file_sha256, onnx_path
from service.manifest import ModelCard, ResizeRule, TensorSpec, Weights

ROW = find("efficientnet_lite0")


def quiet(step: str) -> None:
    pass


def shipped_sha256() -> str:
    ranges = shipped_ranges(ROW.name)
    assert ranges is not None
    return ranges.weights_sha256


def entry(repository: Path, name: str, recipe: str, sha256: str) -> ModelCard:
    """A whole entry of that name, whose graph is a few bytes."""
    onnx_path(repository / name).parent.mkdir(parents=True)
    onnx_path(repository / name).write_bytes(name.encode())
    card = ModelCard(
        name=name,
        variant_of=ROW.name,
        task="classify",
        family=ROW.family,
        precision="int8" if name != ROW.name else "fp32",
        backend="onnxruntime",
        max_batch_size=32,
        resize=ResizeRule("crop", (224, 224), "bicubic", 256),
        outputs=(TensorSpec("probabilities", "FP32", (1000,)),),
        label_set="imagenet-1k",
        label_names=(),
        accuracy=None,
        weights=Weights("package", "a wheel", "Apache-2.0", sha256),
        params=1,
        flops=1,
        onnx_sha256=file_sha256(onnx_path(repository / name)),
        onnx_bytes=5,
        verification=(),
        profile=None,
        recipe=recipe,
    )
    write_entry(card, repository / name)
    return card


def attempt(fp32: ModelCard, repository: Path, demanded: bool = True) -> Outcome:
    nobody, row = frozenset[str](), frozenset({ROW.name})
    int8, offered = (row, nobody) if demanded else (nobody, row)
    return attempt_int8(ROW, fp32, Plan(repository, Choice("first"), False, int8, offered), quiet)


def test_a_variant_of_the_same_entry_and_ranges_is_up_to_date(tmp_path: Path) -> None:
    fp32 = entry(tmp_path, ROW.name, "a recipe", shipped_sha256())
    variant = entry(tmp_path, int8_name(ROW.name), int8_recipe(fp32, None), shipped_sha256())
    outcome = attempt(fp32, tmp_path)
    assert outcome.state == "up to date"
    assert outcome.card == variant


@pytest.mark.parametrize("change", ["entry made anew", "damaged graph", "other quantiser"])
def test_a_stale_variant_is_made_again(tmp_path: Path, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fp32 = entry(tmp_path, ROW.name, "a recipe", shipped_sha256())
    entry(tmp_path, int8_name(ROW.name), int8_recipe(fp32, None), shipped_sha256())
    match change:
        case "entry made anew":
            fp32 = replace(fp32, recipe="another recipe")
        case "damaged graph":
            onnx_path(tmp_path / int8_name(ROW.name)).write_bytes(b"other bytes")
        case "other quantiser":
            monkeypatch.setattr("export.quantisation.identity.QUANTISER_VERSION", 1_000_000)
    # The FP32 graph here is no graph, so that making it again must fail: that it was tried is the point.
    assert attempt(fp32, tmp_path).state == "failed"


def test_weights_without_ranges_are_a_failure_only_if_int8_was_asked_for(tmp_path: Path) -> None:
    fp32 = entry(tmp_path, ROW.name, "a recipe", "f" * 64)
    with pytest.raises(NoRanges, match="--calibration DIR"):
        fitting_ranges(fp32)
    demanded, offered = (attempt(fp32, tmp_path, demanded=asked) for asked in (True, False))
    assert (demanded.state, offered.state) == ("failed", "skipped")
    assert demanded.command == f"vision-export efficientnet_lite0 --precision int8 --repository {tmp_path}"


def test_a_variant_of_other_weights_does_not_stay(tmp_path: Path) -> None:
    fp32 = entry(tmp_path, ROW.name, "a recipe", "a" * 64)
    entry(tmp_path, int8_name(ROW.name), "its recipe", "a" * 64)
    assert withdraw_stranger(fp32, tmp_path) == ""
    said = withdraw_stranger(replace(fp32, weights=replace(fp32.weights, sha256="b" * 64)), tmp_path)
    assert said == "efficientnet_lite0_int8: removed, it was made from other weights."
    assert [path.name for path in tmp_path.iterdir()] == [ROW.name]


def test_an_entry_of_another_model_is_neither_removed_nor_replaced(tmp_path: Path) -> None:
    fp32 = entry(tmp_path, ROW.name, "a recipe", shipped_sha256())
    names = int8_name(ROW.name), fp16_name(ROW.name)
    theirs = [replace(entry(tmp_path, name, "", "b" * 64), variant_of=name) for name in names]
    for card in theirs:
        write_entry(card, tmp_path / card.name)
    assert [withdraw_stranger(fp32, tmp_path, name) for name in names] == ["", ""]
    half = attempt_fp16(ROW, fp32, Plan(tmp_path, Choice("first"), False, fp16=frozenset({ROW.name})), quiet)
    outcomes = [attempt(fp32, tmp_path, demanded=True), attempt(fp32, tmp_path, demanded=False), half]
    assert [outcome.state for outcome in outcomes] == ["failed", "skipped", "failed"]
    assert all(f"{outcome.name} that is no variant of {ROW.name}" in outcome.reason for outcome in outcomes)
    assert [read_entry(tmp_path / name) for name in names] == theirs


# A folder of pictures.


def fill(folder: Path, count: int) -> None:
    random = np.random.default_rng(2)
    (folder / "below").mkdir(parents=True)
    for index in range(count):
        pixels = random.integers(0, 256, (40, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "below" / f"{index:03}.png")


@pytest.fixture(scope="module")
def source() -> Upstream:
    return upstream(ROW)


def test_no_picture_both_calibrates_and_judges(tmp_path: Path, source: Upstream) -> None:
    fill(tmp_path, FEWEST)
    (tmp_path / "labels.csv").write_text("file,class_id\n" + "".join(f"{i:03}.png,{i}\n" for i in range(FEWEST)))
    pictures = read_pictures(tmp_path, source)
    assert pictures.calibrating.classes is not None
    assert pictures.judging.classes is not None
    assert pictures.calibrating.classes.tolist() == list(range(0, FEWEST, CALIBRATING))
    assert sorted([*pictures.calibrating.classes, *pictures.judging.classes]) == list(range(FEWEST))
    assert pictures.judging.pixels.shape == (40, 224, 224, 3)


def test_a_picture_without_a_label_leaves_all_without(tmp_path: Path, source: Upstream) -> None:
    fill(tmp_path, FEWEST)
    (tmp_path / "labels.csv").write_text("file,class_id\n000.png,0\n")
    assert read_pictures(tmp_path, source).judging.classes is None


def fill_class_folders(folder: Path) -> None:
    """Two folders with the same file names."""
    for name in ("cat", "dog"):
        fill(folder / name, FEWEST // 2)


def test_class_folders_with_the_same_file_names_have_the_labels_of_their_paths(
    tmp_path: Path, source: Upstream
) -> None:
    fill_class_folders(tmp_path)
    lines = [f"{kind}/below/{i:03}.png,{c}\n" for c, kind in enumerate(("cat", "dog")) for i in range(FEWEST // 2)]
    (tmp_path / "labels.csv").write_text("file,class_id\n" + "".join(lines))
    pictures = read_pictures(tmp_path, source)
    assert pictures.judging.classes is not None
    assert pictures.judging.classes.tolist() == [0] * 20 + [1] * 20


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("000.png,0\n", r"000\.png, which 2 pictures are called: give paths, such as cat/below/000\.png"),
        ("cat/below/000.png,0\ncat/below/000.png,1\n", r"cat/below/000\.png twice"),
    ],
)
def test_labels_that_could_be_either_picture_s_are_refused(
    lines: str, said: str, tmp_path: Path, source: Upstream
) -> None:
    fill_class_folders(tmp_path)
    (tmp_path / "labels.csv").write_text(f"file,class_id\n{lines}")
    with pytest.raises(ExportError, match=said):
        read_pictures(tmp_path, source)


def test_too_few_pictures_are_a_sentence(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    with pytest.raises(TooFewPictures, match="has 3 pictures; calibrating takes 60 or more"):
        picture_files(tmp_path)


def test_a_calibration_of_the_user_s_own_stays_where_int8_is_only_offered(tmp_path: Path) -> None:
    fill(tmp_path / "pictures", FEWEST)
    repository = tmp_path / "repository"
    fp32 = entry(repository, ROW.name, "a recipe", shipped_sha256())
    own = entry(repository, int8_name(ROW.name), int8_recipe(fp32, tmp_path / "pictures"), shipped_sha256())
    # The graph of FP32 is none here: whatever tries to make a variant of it fails.
    for entry_now in (fp32, replace(fp32, recipe="another recipe")):
        outcome = attempt(entry_now, repository, demanded=False)
        assert (outcome.state, outcome.card) == ("skipped", own)
        assert "and stays" in outcome.reason
    assert attempt(fp32, repository, demanded=True).state == "failed"
    onnx_path(repository / own.name).write_bytes(b"damaged")
    assert attempt(fp32, repository, demanded=False).state == "failed"


def test_another_picture_is_another_identity(tmp_path: Path) -> None:
    fill(tmp_path, FEWEST)
    before = pictures_identity(tmp_path)
    assert pictures_identity(tmp_path) == before
    Image.new("RGB", (40, 30)).save(tmp_path / "below" / "000.png")
    assert pictures_identity(tmp_path) != before
