"""Random networks that behave like trained ones: BatchNorm statistics measured on real pictures.

Without it a deep random network's activations vanish or explode, every picture gets the same answer, and comparing
two such answers proves nothing.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from export.catalogue.row import Row
from export.photographs import seven_pixels
from export.reference import normalised
from export.upstream import upstream


def calibrate_batch_norm(module: nn.Module, row: Row) -> nn.Module:
    """The same module, its BatchNorm layers holding the mean and variance of seven real pictures."""
    source = upstream(row)
    layers = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
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
