"""Weights files: what is read, and what is refused without being run."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from export.catalogue.registry import find
from export.checkpoint import load_into, read_checkpoint
from export.errors import WeightsError
from export.key_names import efficientnet_lite_pytorch
from export.network import build


def layer() -> nn.Linear:
    torch.manual_seed(1)
    return nn.Linear(3, 2)


@pytest.mark.parametrize("wrap", ["plain", "state_dict", "model", "both", "parallel"])
def test_the_usual_wrappers_come_off(tmp_path: Path, wrap: str) -> None:
    tensors: dict[str, Any] = dict(layer().state_dict())
    content = {
        "plain": tensors,
        "state_dict": {"state_dict": tensors, "epoch": 3},
        "model": {"model": tensors},
        "both": {"model": {"state_dict": tensors}},
        "parallel": {"state_dict": {f"module.{name}": tensor for name, tensor in tensors.items()}},
    }[wrap]
    torch.save(content, tmp_path / "w.pth")
    target = nn.Linear(3, 2)
    load_into(target, tmp_path / "w.pth")
    assert torch.equal(target.weight, tensors["weight"])
    assert torch.equal(target.bias, tensors["bias"])


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file(layer().state_dict(), tmp_path / "w.safetensors")
    assert set(read_checkpoint(tmp_path / "w.safetensors")) == {"weight", "bias"}


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path(self.target),)

    def __init__(self, target: Path) -> None:
        self.target = str(target)


def test_a_file_that_would_run_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    torch.save({"weight": Trap(ran)}, tmp_path / "w.pth")
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(Trap(ran), protocol=2))
    for name in ("w.pth", "w.pkl"):
        with pytest.raises(WeightsError, match="cannot be read safely"):
            read_checkpoint(tmp_path / name)
    assert not ran.exists()


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_rubbish_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"not weights at all")
    with pytest.raises(WeightsError, match="cannot be read safely"):
        read_checkpoint(tmp_path / name)


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [1, 2], {"weight": [1.0]}])
def test_a_file_without_tensors_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="no table of tensors"):
        read_checkpoint(tmp_path / "w.pth")


@pytest.mark.parametrize("damage", ["missing", "extra", "shape"])
def test_a_checkpoint_must_fit_exactly(tmp_path: Path, damage: str) -> None:
    tensors = dict(layer().state_dict())
    if damage == "missing":
        del tensors["bias"]
    elif damage == "extra":
        tensors["more"] = torch.zeros(1)
    else:
        tensors["weight"] = torch.zeros(2, 4)
    torch.save(tensors, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="does not fit the network"):
        load_into(nn.Linear(3, 2), tmp_path / "w.pth")


def test_lite_names_become_timm_s() -> None:
    module = build(find("efficientnet_lite0").network)
    names = {
        "_conv_stem.weight": "conv_stem.weight",
        "_blocks.0._depthwise_conv.weight": "blocks.0.0.conv_dw.weight",
        "_blocks.0._project_conv.weight": "blocks.0.0.conv_pw.weight",
        "_blocks.2._expand_conv.weight": "blocks.1.1.conv_pw.weight",
        "_blocks.15._bn2.running_mean": "blocks.6.0.bn3.running_mean",
        "_fc.bias": "classifier.bias",
    }
    assert {name: efficientnet_lite_pytorch(name, module) for name in names} == names
    assert set(names.values()) <= set(module.state_dict())


def test_the_seeded_network_is_the_same_every_time() -> None:
    network = find("efficientnet_lite0").network
    first, second = build(network), build(network)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
