"""What the right answer is: the library's own module, fed by the library's own preprocessing, in float64."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from export.upstream import Upstream

Arrays = dict[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Reference:
    """Pictures and what they must give.

    pixels      (N, H, W, 3) uint8
    float64     output name → (N, ...): the truth
    float32     the same from torch in float32: how much rounding alone moves it
    inner_step  how far an output moves, as a share of its largest number, when a decision inside the network falls the
                other way, as rounding may let it at any place; 0: none is taken inside
    """

    pixels: NDArray[np.uint8]
    float64: Arrays
    float32: Arrays
    inner_step: float = 0.0


def normalised(pixels: NDArray[np.uint8], mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(N, 3, H, W) float64, (x / 255 - mean) / std as the libraries write it."""
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).double() / 255  # (N, 3, H, W)
    mean_c11, std_c11 = (torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in (mean, std))
    return (x - mean_c11) / std_c11


def classify_reference(module: nn.Module, head: str, source: Upstream, pixels: NDArray[np.uint8]) -> Reference:
    """Probabilities and embedding of the untouched library module for the pixels. The module is left as it was."""
    x = normalised(pixels, source.mean, source.std)
    return Reference(pixels, _answers(copy.deepcopy(module).double(), head, x), _answers(module, head, x.float()))


def _answers(module: nn.Module, head: str, x: Tensor) -> Arrays:
    """Runs the module as it is. The embedding is overheard on its way into the head, so that the exported wrapper,
    which cuts the module in two, is compared with something that does not."""
    overheard: list[Tensor] = []
    ear = module.get_submodule(head).register_forward_pre_hook(lambda _, inputs: overheard.append(inputs[0]))
    try:
        with torch.inference_mode():
            logits = module(x)
    finally:
        ear.remove()
    embedding = overheard[0].flatten(2).mean(-1) if overheard[0].ndim == 4 else overheard[0]  # (N, D)
    tensors = {"probabilities": logits.softmax(-1), "embedding": embedding}
    return {name: tensor.double().numpy() for name, tensor in tensors.items()}
