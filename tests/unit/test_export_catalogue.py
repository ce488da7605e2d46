"""Every row against the library that it names, and the registry against itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
from PIL import Image
from torchvision.models import ResNet50_Weights, get_model_weights

from export.catalogue.registry import CATALOGUE, DEFAULT_NAMES, HUB_DEFAULT_NAMES, by_name, find
from export.catalogue.row import HubWeights, PackageWeights, Row, StarterWeights
from export.errors import UnknownRow
from export.key_names import RENAMINGS
from export.network import count_params
from export.upstream import upstream

CLASSIFIERS = {name: row for name, row in CATALOGUE.items() if row.task == "classify"}
ROWS = pytest.mark.parametrize("row", CLASSIFIERS.values(), ids=CLASSIFIERS.keys())
LABELS = Path(__file__).parents[2] / "service" / "labels" / "imagenet-1k.txt"


@ROWS
def test_preprocessing_is_the_library_s_own(row: Row) -> None:
    published = upstream(row)
    assert (row.mean, row.std) == (published.mean, published.std)
    if not row.preprocessing_note:
        assert row.resize == published.resize
    else:
        assert row.resize != published.resize
        assert replace(row.resize, shorter_side_px=published.resize.shorter_side_px) == published.resize


@ROWS
def test_reference_pictures_are_cut_by_the_row_s_rule(row: Row) -> None:
    assert row.resize.shorter_side_px is not None
    side_px = row.resize.shorter_side_px
    # A picture that is as large already is not resized, so what is left of it is its very centre.
    picture = np.random.default_rng(0).integers(0, 256, (side_px, side_px + 40, 3), dtype=np.uint8)
    height_px, width_px = row.resize.size_hw
    top_px, left_px = round((side_px - height_px) / 2), round((side_px + 40 - width_px) / 2)
    expected = picture[top_px : top_px + height_px, left_px : left_px + width_px]
    np.testing.assert_array_equal(upstream(row).pixels(Image.fromarray(picture)), expected)


@ROWS
def test_parameters_are_counted_and_agree_with_the_paper_or_say_why_not(row: Row) -> None:
    ours = count_params(row) / 1e6
    assert ours == pytest.approx(row.params_millions, abs=0.0006)
    if row.paper_params_millions is not None and not row.params_note:
        # Papers print one decimal place.
        assert abs(ours - row.paper_params_millions) <= max(0.01 * row.paper_params_millions, 0.05)


@ROWS
def test_hub_weights_exist_in_the_installed_library(row: Row) -> None:
    for source in row.weights:
        if not isinstance(source, HubWeights):
            continue
        assert source.library == row.network.library
        if source.library == "timm":
            published = timm.get_pretrained_cfg(f"{row.network.constructor}.{source.tag}", allow_unregistered=False)
            assert published is not None
            assert published.hf_hub_id
        else:
            assert get_model_weights(row.network.constructor)[source.tag].url.endswith(".pth")


@ROWS
def test_accuracy_quoted_from_torchvision_is_what_torchvision_says(row: Row) -> None:
    if row.network.library != "torchvision" or row.accuracy is None:
        return
    tag = next(source.tag for source in row.weights if isinstance(source, HubWeights))
    meta = get_model_weights(row.network.constructor)[tag].meta
    assert row.accuracy.value == meta["_metrics"]["ImageNet-1K"]["acc@1"]


@ROWS
def test_mandatory_fields_are_filled(row: Row) -> None:
    assert row.paper
    assert row.family
    assert row.accuracy is None or (row.accuracy.source and row.accuracy.metric == "top-1")
    assert row.weights
    for source in row.weights:
        assert source.licence
        if isinstance(source, PackageWeights):
            assert len(source.sha256) == 64
            assert source.keys in RENAMINGS


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
    assert LABELS.read_text(encoding="utf-8").splitlines() == ResNet50_Weights.IMAGENET1K_V2.meta["categories"]
