"""Every row of a detector or segmenter against the library that it names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torchvision.models import get_model_weights

from export.catalogue.registry import CATALOGUE
from export.catalogue.row import HubWeights, Row
from export.heads.by_name import HEADS
from export.heads.coco import PANOPTIC_IDS, THING_IDS
from export.network import build, count_params
from service.graph_contract import contract_outputs
from service.label_sets import _shipped

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

LOCATED = {n: row for n, row in CATALOGUE.items() if row.task != "classify" and row.network.library != "starter"}
ROWS = pytest.mark.parametrize("row", LOCATED.values(), ids=LOCATED.keys())
TORCHVISION = {n: row for n, row in LOCATED.items() if row.network.library == "torchvision"}
DETECTORS = {n: row for n, row in TORCHVISION.items() if row.label_set == "coco"}
# Repositories of the Hugging Face hub that the installed package does not name: nothing here can vouch for them.
UNPROVED = frozenset(
    {
        "facebook/detr-resnet-101",
        "SenseTime/deformable-detr-with-box-refine",
        "SenseTime/deformable-detr-with-box-refine-two-stage",
        "nvidia/segformer-b5-finetuned-ade-640-640",
        "shi-labs/oneformer_coco_swin_large",
        "facebook/mask2former-swin-tiny-coco-panoptic",
        "facebook/mask2former-swin-small-coco-panoptic",
        "facebook/mask2former-swin-base-coco-panoptic",
        "facebook/mask2former-swin-large-coco-panoptic",
        "facebook/mask2former-swin-tiny-coco-instance",
        "facebook/mask2former-swin-tiny-ade-semantic",
    }
)


@ROWS
def test_parameters_are_counted_and_agree_with_the_paper_or_say_why_not(row: Row) -> None:
    ours = count_params(row) / 1e6
    assert ours == pytest.approx(row.params_millions, rel=1e-3)
    paper = row.paper_params_millions
    if paper is not None:
        printed_decimals = len(str(paper).partition(".")[2])
        agrees = abs(ours - paper) <= 0.01 * paper or round(ours, printed_decimals) == paper
        assert agrees != bool(row.params_note), f"{ours:.4f} M here, {paper} M in the paper"


@ROWS
def test_the_head_exists_and_there_is_a_name_for_every_class(row: Row) -> None:
    assert row.network.head in HEADS
    assert contract_outputs(row.task, row.segment_kind)
    assert len(row.label_names or _shipped(row.label_set)) == row.classes


@ROWS
def test_mandatory_fields_are_filled(row: Row) -> None:
    assert row.paper
    assert row.family
    assert 1998 <= row.year <= 2026
    assert row.gate_pictures >= 3
    assert row.accuracy is None or (row.accuracy.source and row.accuracy.value > 1)
    assert all(source.licence for source in row.weights)
    assert row.weights or row.accuracy is None, "an accuracy belongs to weights"


@pytest.mark.parametrize("row", TORCHVISION.values(), ids=TORCHVISION.keys())
def test_weights_and_quality_are_torchvision_s(row: Row) -> None:
    (source,) = row.weights
    assert isinstance(source, HubWeights)
    meta = get_model_weights(row.network.constructor)[source.tag].meta
    (figures,) = meta["_metrics"].values()
    assert row.accuracy is not None
    key = {"AP": "box_map", "mask AP": "mask_map", "mIoU": "miou"}[row.accuracy.metric]
    assert row.accuracy.value == figures[key]
    names = [name for name in meta["categories"] if name not in ("N/A", "__background__")]
    shipped = list(_shipped(row.label_set))
    assert names == (shipped if row.label_set == "coco" else shipped[1:])


@pytest.mark.parametrize("row", DETECTORS.values(), ids=DETECTORS.keys())
def test_preprocessing_is_the_library_s_own_or_the_row_says_why_not(row: Row) -> None:
    with torch.device("meta"):
        transform: Any = build(row.network).transform
    assert row.mean == pytest.approx(transform.image_mean)
    assert row.std == pytest.approx(transform.image_std)
    if transform.fixed_size is not None:
        assert (row.resize.mode, row.resize.size_hw) == ("squash", tuple(transform.fixed_size))
    else:
        assert f"to {transform.min_size[0]} px" in row.preprocessing_note
        assert f"at most {transform.max_size};" in row.preprocessing_note


def test_ids_of_things_are_those_that_torchvision_s_categories_name() -> None:
    categories = get_model_weights("ssd300_vgg16")["COCO_V1"].meta["categories"]
    assert tuple(i for i, name in enumerate(categories) if name not in ("N/A", "__background__")) == THING_IDS
    assert len(set(PANOPTIC_IDS)) == len(PANOPTIC_IDS) == len(_shipped("coco-panoptic"))
    assert _shipped("coco-panoptic")[:80] == _shipped("coco")


def test_repositories_of_the_hub_are_named_by_the_installed_library() -> None:
    tags = {s.tag for row in LOCATED.values() for s in row.weights if isinstance(s, HubWeights) and "/" in s.tag}
    folder = Path(transformers.__file__).parent / "models"
    text = " ".join(
        path.read_text(encoding="utf-8")
        for model in ("detr", "deformable_detr", "segformer", "maskformer", "mask2former", "oneformer")
        for path in (folder / model).glob("*.py")
    )
    named = {tag for tag in tags if any(f"{tag}{end}" in text for end in "\"'`) ")}
    assert named | UNPROVED >= tags
    assert not named & UNPROVED, "the library names it by now"
