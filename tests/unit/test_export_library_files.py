"""Checkpoints as the libraries write them, into networks as they build them today."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models import WeightsEnum

from export.catalogue.registry import CATALOGUE, find
from export.catalogue.row import HubWeights, Row
from export.checkpoint import load_into, read_checkpoint
from export.errors import WeightsError
from export.key_names import torchvision_densenet
from export.network import build, without_training_parts

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


def test_densenet_s_old_names_become_its_new_ones() -> None:
    with torch.device("meta"):
        network = build(find("densenet121").network)
    names = list(network.state_dict())
    old = [re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", name) for name in names]
    assert sum(a != b for a, b in zip(names, old, strict=True)) > 500
    assert [torchvision_densenet(name, network) for name in old] == names


class Built(Exception):
    """torchvision has built its network, and is about to fill it."""


def as_torchvision_builds_it(row: Row, tag: str, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """The library's network for that checkpoint, as its own `weights=` makes it; nothing is fetched."""

    def stop(module: nn.Module, *_: object, **__: object) -> None:
        built.append(module)
        raise Built

    built: list[nn.Module] = []
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda *_, **__: {})
    monkeypatch.setattr(nn.Module, "load_state_dict", stop)
    with torch.device("meta"), pytest.raises(Built):
        torchvision.models.get_model(row.network.constructor, weights=tag)
    monkeypatch.undo()
    return built[0]


@pytest.mark.parametrize(
    ("row", "tag"),
    [
        pytest.param(row, source.tag, id=row.name)
        for row in CATALOGUE.values()
        for source in row.weights
        if isinstance(source, HubWeights) and source.library == "torchvision"
    ],
)
def test_what_torchvision_builds_for_its_checkpoint_fits_the_row_s_network(
    row: Row, tag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = as_torchvision_builds_it(row, tag, monkeypatch).state_dict()
    with torch.device("meta"):
        network = build(row.network)
    # Strict, as the real file's: every name and shape of both sides. Detectors' frozen BatchNorm counts no batches,
    # which the version that stands beside the table tells ours.
    network.load_state_dict(theirs, assign=True)


def test_mnasnet_is_told_which_of_its_versions_wrote_the_file(tmp_path: Path) -> None:
    network = build(find("mnasnet0_5").network)
    torch.save(network.state_dict(), tmp_path / "with.pth")
    load_into(build(find("mnasnet0_5").network), tmp_path / "with.pth")
    torch.save(dict(network.state_dict()), tmp_path / "without.pth")
    with pytest.raises(WeightsError, match="version"):
        load_into(network, tmp_path / "without.pth")


def test_versions_survive_the_wrappers(tmp_path: Path) -> None:
    network = build(find("lenet5").network)
    torch.save({"state_dict": network.state_dict()}, tmp_path / "wrapped.pth")
    assert "c1" in read_checkpoint(tmp_path / "wrapped.pth")._metadata  # type: ignore[attr-defined]


@pytest.mark.parametrize(("name", "with_millions"), [("googlenet", 13.0), ("inception_v3", 27.16)])
def test_auxiliary_classifiers_are_loaded_and_then_left_out(name: str, with_millions: float) -> None:
    row = find(name)
    with torch.device("meta"):
        network = build(row.network)
    counts = [sum(p.numel() for p in network.parameters()) / 1e6]
    without_training_parts(network)
    counts.append(sum(p.numel() for p in network.parameters()) / 1e6)
    assert counts == pytest.approx([with_millions, row.params_millions], rel=1e-3)
