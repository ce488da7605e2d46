"""Random networks that behave like trained ones: BatchNorm statistics measured on real pictures, no dead branches.

Without it a deep random network's activations vanish or explode, every picture gets the same answer, and comparing
two such answers proves nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from export.catalogue.row import Row
from export.network import SEED
from export.photographs import seven_pixels
from export.reference import normalised
from export.upstream import upstream

# The usual standard deviation of freshly made transformer and head weights.
SMALL = 0.02


def calibrate_batch_norm(module: nn.Module, row: Row) -> nn.Module:
    """The same module, its BatchNorm layers holding the mean and variance of seven real pictures."""
    source = upstream(row)
    layers = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
    if not layers:
        return module
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain average of what it sees
        layer.train()
    with torch.no_grad():
        module(normalised(seven_pixels(source), source.mean, source.std).float())
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    return module.eval()


def without_zeros(module: nn.Module) -> nn.Module:
    """The same module; weights that its library starts at exactly zero are now small seeded random numbers, or one.

    Many libraries start the last layer of every residual branch, or the head, at zero, so that training begins at the
    identity. A comparison of two such networks compares next to nothing.
    """
    generator = torch.Generator().manual_seed(SEED)
    for layer in module.modules():
        _without_zero_index(layer, generator)
        weight = getattr(layer, "weight", None)
        if not isinstance(weight, Tensor) or weight.is_meta or weight.count_nonzero():
            continue
        with torch.no_grad():
            if weight.ndim == 1:
                weight.fill_(1.0)
            else:
                weight.normal_(0.0, SMALL, generator=generator)
    return module


def _without_zero_index(layer: nn.Module, generator: torch.Generator) -> None:
    """CondenseNet's layers pick maps by a learnt index. Before training it picks the first map every time."""
    index = getattr(layer, "index", None)
    if isinstance(index, Tensor) and index.dtype == torch.int64 and not index.is_meta and not index.count_nonzero():
        index.copy_(torch.randperm(len(index), generator=generator))
