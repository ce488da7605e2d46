"""Random detectors that find things: BatchNorm measured on real pictures, last layers as wide as trained ones.

Straight from its constructor a detector is unsure of everything by the same amount, or sure of nothing. Which of a
thousand equal boxes survives is then rounding, and comparing two such answers proves nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from export.heads.located import Final, LocatedGraph

# A channel that hardly varies is not blown up beyond this.
MOST_GAIN = 1e4
# Wide enough for attention to prefer some places to others.
QUERY_STD = 2.0
# What transformers calls the layers that attention compares by.
COMPARING = frozenset({"q_proj", "k_proj", "q_linear", "k_linear", "query", "key"})


def lively(graph: LocatedGraph, pixels: NDArray[np.uint8]) -> None:
    """Changes the graph's weights in place. pixels: (N, H, W, 3)."""
    _widen(graph)
    graph.enliven()
    _measure_batch_norm(graph, pixels)
    for stage in graph.finals():
        _spread(graph, stage, pixels)


def _widen(graph: LocatedGraph) -> None:
    """A transformer's queries begin as nearly the same vector, look at everything alike, and all answer the same.

    Wider are the queries, and what compares them with keys. What is added to them stays small, or layer by layer they
    would become alike again.
    """
    for name, layer in graph.named_modules():
        if isinstance(layer, nn.Embedding):
            least = QUERY_STD
        elif isinstance(layer, nn.Linear) and name.rpartition(".")[2] in COMPARING:
            least = layer.in_features**-0.5  # what comes out varies as much as what goes in
        else:
            continue
        with torch.no_grad():
            layer.weight.mul_((least / layer.weight.std()).clamp(min=1.0))


def _measure_batch_norm(graph: LocatedGraph, pixels: NDArray[np.uint8]) -> None:
    layers = [layer for layer in graph.modules() if isinstance(layer, _BatchNorm)]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain average of what it sees
        layer.train()
    with torch.no_grad():
        graph(torch.from_numpy(pixels))
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
        layer.eval()


class _Moments:
    """Mean and standard deviation of each channel of everything that a layer gave."""

    def __init__(self, last_call: bool) -> None:
        self.last_call, self.heard = last_call, list[Tensor]()
        self.count, self.sum, self.squares = 0, torch.zeros(()), torch.zeros(())

    def __call__(self, layer: nn.Module, inputs: object, out: Tensor) -> None:
        channels = 1 if isinstance(layer, nn.Conv2d) else out.ndim - 1
        self.heard.append(out.detach().double().movedim(channels, 0).flatten(1))  # (C, …)

    def end_of_run(self) -> None:
        for flat in self.heard[-1:] if self.last_call else self.heard:
            self.count += flat.shape[1]
            self.sum = self.sum + flat.sum(1)
            self.squares = self.squares + flat.square().sum(1)
        self.heard.clear()

    def mean(self) -> Tensor:
        return self.sum / self.count

    def std(self) -> Tensor:
        return (self.squares / self.count - self.mean().square()).clamp(min=0).sqrt()


def _spread(graph: LocatedGraph, stage: Sequence[Final], pixels: NDArray[np.uint8]) -> None:
    """Each channel of the layers to the mean and deviation that are wanted: exact, for the layers are linear."""
    heard = [_Moments(final.last_call) for final in stage]
    ears = [final.layer.register_forward_hook(moments) for final, moments in zip(stage, heard, strict=True)]
    try:
        with torch.no_grad():
            for i in range(len(pixels)):
                graph(torch.from_numpy(pixels[i : i + 1]))
                for moments in heard:
                    moments.end_of_run()
    finally:
        for ear in ears:
            ear.remove()
    for final, moments in zip(stage, heard, strict=True):
        _standardise(final, moments)


def _standardise(final: Final, moments: _Moments) -> None:
    layer = final.layer
    if not moments.count:  # a network may hold a copy of a layer, and run that one
        raise TypeError("the last layer of a head never ran. This is a bug.")
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, Tensor)  # noqa: S101 - for the type checker
    if not isinstance(bias, Tensor):
        raise TypeError("the last layer of a head has a bias. This is a bug.")
    gain = final.std / moments.std().clamp(min=final.std / MOST_GAIN)
    with torch.no_grad():
        rows = gain.to(weight.dtype).reshape(-1, *[1] * (weight.ndim - 1))
        weight.mul_(rows)
        bias.copy_(final.mean + (bias.double() - moments.mean()) * gain)
        for channel, shift in final.shifts:
            bias[channel] += shift
