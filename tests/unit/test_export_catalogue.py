"""Every row against the library that it names, and the registry against itself."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from pytorchcv.models.common.model_store import get_model_metainfo_dict
from torch import nn
from torchvision.models import ResNet50_Weights, get_model_weights

from export.catalogue.family import TIMM_RESULTS
from export.catalogue.registry import CATALOGUE, DEFAULT_NAMES, FAMILIES, HUB_DEFAULT_NAMES, by_name, find
from export.catalogue.row import HubWeights, Network, PackageWeights, Row, StarterWeights
from export.catalogue.twins import TWINS
from export.errors import UnknownRow
from export.key_names import RENAMINGS
from export.network import build, without_training_parts
from export.run_table import markdown, read_runs
from export.upstream import upstream
from tests.write_catalogue import NAMES_FILE, PAGE_FILE, RUNS_FILE, names_text, page_text

# torchvision tells users of its Inception networks what may change.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

CLASSIFIERS = {name: row for name, row in CATALOGUE.items() if row.task == "classify"}
ROWS = pytest.mark.parametrize("row", CLASSIFIERS.values(), ids=CLASSIFIERS.keys())
LABELS = Path(__file__).parents[2] / "service" / "labels"


@ROWS
def test_preprocessing_is_the_library_s_own_or_the_row_says_why_not(row: Row) -> None:
    published = upstream(row)
    assert (row.mean, row.std) == (published.mean, published.std)
    if row.network.library in ("timm", "torchvision") and row.preprocessing_note:
        assert row.resize != published.resize
    elif row.network.library in ("timm", "torchvision"):
        assert row.resize == published.resize
    else:
        assert row.preprocessing_note, "no library says how its pictures are cut: say who does"


def _one_of_each_cut() -> dict[str, Row]:
    """One row per way of cutting: the same transform need not be tried a hundred times."""
    return {
        str((row.network.library, row.resize, bool(row.preprocessing_note))): row
        for row in CLASSIFIERS.values()
        if row.resize.mode == "crop"
    }


@pytest.mark.parametrize("row", _one_of_each_cut().values(), ids=lambda row: row.name)
def test_reference_pictures_are_cut_by_the_row_s_rule(row: Row) -> None:
    assert row.resize.shorter_side_px is not None
    side_px = row.resize.shorter_side_px
    # A picture that is as large already is not resized, so what is left of it is its very centre.
    picture = np.random.default_rng(0).integers(0, 256, (side_px, side_px + 40, 3), dtype=np.uint8)
    height_px, width_px = row.resize.size_hw
    top_px, left_px = round((side_px - height_px) / 2), round((side_px + 40 - width_px) / 2)
    expected = picture[top_px : top_px + height_px, left_px : left_px + width_px]
    np.testing.assert_array_equal(upstream(row).pixels(Image.fromarray(picture)), expected)


_ON_META: dict[Network, nn.Module] = {}


def on_meta(row: Row) -> nn.Module:
    """The network as served, without a byte of weights; built once for all rows that share it."""
    if row.network not in _ON_META:
        with torch.device("meta"):
            _ON_META[row.network] = without_training_parts(build(row.network))
    return _ON_META[row.network]


@ROWS
def test_parameters_are_counted_and_agree_with_the_paper_or_say_why_not(row: Row) -> None:
    ours = sum(parameter.numel() for parameter in on_meta(row).parameters()) / 1e6
    assert ours == pytest.approx(row.params_millions, rel=1e-3)
    paper = row.paper_params_millions
    if paper is not None:
        printed_decimals = len(str(paper).partition(".")[2])
        agrees = abs(ours - paper) <= 0.01 * paper or round(ours, printed_decimals) == paper
        assert agrees != bool(row.params_note), f"{ours:.4f} M here, {paper} M in the paper"


@ROWS
def test_the_head_is_what_gives_the_classes(row: Row) -> None:
    head = on_meta(row).get_submodule(row.network.head)
    match head:
        case nn.Linear():
            assert head.out_features == row.classes
        case nn.Conv2d():
            assert (head.out_channels, head.kernel_size) == (row.classes, (1, 1))
        case _:
            pytest.fail(f"{row.network.head} is a {type(head).__name__}")
    assert len((LABELS / f"{row.label_set}.txt").read_text(encoding="utf-8").splitlines()) == row.classes


@ROWS
def test_hub_weights_exist_in_the_installed_library(row: Row) -> None:
    for source in row.weights:
        if not isinstance(source, HubWeights):
            continue
        assert source.library == row.network.library
        match source.library:
            case "timm":
                published = timm.get_pretrained_cfg(f"{row.network.constructor}.{source.tag}", allow_unregistered=False)
                assert published is not None
                assert published.hf_hub_id or published.url
                assert published.license == source.licence.lower()
                assert published.num_classes == row.classes
            case "pytorchcv":
                _, error, sha1, _ = get_model_metainfo_dict()[source.tag]
                assert error != "NA"
                assert len(sha1) == 40
            case _:
                weights = get_model_weights(row.network.constructor)[source.tag]
                assert weights.url.endswith(".pth")
                assert source.licence == ("CC-BY-NC-4.0" if "SWAG" in source.tag else "BSD-3-Clause")


@ROWS
def test_accuracy_is_what_its_source_says(row: Row) -> None:
    if row.accuracy is None:
        return
    assert row.accuracy.metric == "top-1"
    assert row.accuracy.dataset == row.label_set
    assert 30 < row.accuracy.value < 100
    tags = [source.tag for source in row.weights if isinstance(source, HubWeights)]
    if row.network.library == "torchvision":
        meta = get_model_weights(row.network.constructor)[tags[0]].meta
        assert row.accuracy.value == meta["_metrics"]["ImageNet-1K"]["acc@1"]
    elif row.network.library == "pytorchcv" and row.label_set == "cifar-10":
        # For CIFAR its list gives the top-1 error, in hundredths of a percent; for ImageNet only the top-5 error.
        assert row.accuracy.value == pytest.approx(100 - int(get_model_metainfo_dict()[tags[0]][1]) / 100)
    elif row.network.library == "timm" and not isinstance(row.weights[0], PackageWeights):
        assert row.accuracy.source == TIMM_RESULTS
    assert row.weights, "an accuracy belongs to weights"


@ROWS
def test_mandatory_fields_are_filled(row: Row) -> None:
    assert row.paper
    assert row.family
    assert 1998 <= row.year <= 2026
    assert row.accuracy is None or row.accuracy.source
    assert row.paper_top1_percent is None or 50 <= row.paper_top1_percent < 100
    for source in row.weights:
        assert source.licence
        if isinstance(source, PackageWeights):
            assert len(source.sha256) == 64
            assert source.keys in RENAMINGS


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_is_the_same_code_in_a_smaller_size(name: str) -> None:
    row, twin = find(name), find(TWINS[name][0])
    assert (row.network.library, row.network.head, row.family) == (twin.network.library, twin.network.head, twin.family)
    size, twins_size = (one.params_millions * math.prod(one.resize.size_hw) for one in (row, twin))
    assert twin.params_millions <= row.params_millions
    assert twins_size < size / 2


def test_families_are_in_the_order_of_the_history() -> None:
    """Each file begins no earlier than what began the file before it, papers of one year in any order."""
    first = [min(row.year for row in family) for family in FAMILIES if family[0].task == "classify"]
    names = [family[0].family for family in FAMILIES if family[0].task == "classify"]
    assert names[0] == "LeNet"
    assert "ViT" in names[-1]
    assert max(earlier - later for earlier, later in itertools.pairwise(first)) <= 3


def test_the_gateway_knows_every_name() -> None:
    assert NAMES_FILE.read_text(encoding="utf-8") == names_text(), "run `python -m tests.write_catalogue`"


def test_a_name_listed_twice_is_an_error() -> None:
    row = find("resnet50")
    with pytest.raises(ValueError, match="'resnet50' twice"):
        by_name([row, row])


def test_an_unknown_name_suggests_close_ones() -> None:
    with pytest.raises(UnknownRow, match="efficientnet_lite0"):
        find("efficientnet-lite0")
    with pytest.raises(UnknownRow, match="--list"):
        find("zzz")


def test_defaults_are_rows_with_the_weights_they_claim() -> None:
    assert all(isinstance(find(name).weights[0], PackageWeights | StarterWeights) for name in DEFAULT_NAMES)
    assert all(isinstance(find(name).weights[0], HubWeights) for name in HUB_DEFAULT_NAMES)


def test_label_file_is_torchvision_s_list() -> None:
    names = (LABELS / "imagenet-1k.txt").read_text(encoding="utf-8").splitlines()
    assert names == ResNet50_Weights.IMAGENET1K_V2.meta["categories"]


def test_the_pages_are_written_from_the_registry_and_the_last_run() -> None:
    assert PAGE_FILE.read_text(encoding="utf-8") == page_text(), "run `python -m tests.write_catalogue`"
    runs = read_runs(RUNS_FILE)
    assert RUNS_FILE.with_suffix(".md").read_text(encoding="utf-8") == markdown(CATALOGUE.values(), runs)
    assert set(runs) <= set(CATALOGUE), "a run of a row that is gone"
