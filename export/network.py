"""Row → torch module, with random numbers in it."""

from __future__ import annotations

from typing import Any

import timm
import torch
import torchvision
from torch import nn

from export.catalogue.row import Network, Row

SEED = 0


def build(network: Network) -> nn.Module:
    """The library's network in eval mode. The same random weights every time, so that `random` can be repeated."""
    arguments: dict[str, Any] = dict(network.arguments)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        if network.library == "timm":
            module: nn.Module = timm.create_model(network.constructor, pretrained=False, **arguments)
        else:
            module = torchvision.models.get_model(network.constructor, weights=None, **arguments)
    return module.eval()


def count_params(row: Row) -> int:
    """Number of trained parameters, counted without allocating them."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build(row.network).parameters())
