"""Image GPT as a classifier: a language model that reads a picture as 1,024 words out of 512 colours.

Chen et al.: Generative Pretraining from Pixels (ICML 2020), section 3, table 1.

    (N, 3, 32, 32) ─▶ nearest of 512 colours ─▶ 1,024 tokens ─▶ transformer ─▶ mean over tokens ─▶ classes

The paper's colours are 512 k-means centres. Their file is not inside any package, so an even grid of 8×8×8 colours
stands in until weights bring their own: `clusters` is part of the network's state.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import ImageGPTConfig, ImageGPTForImageClassification

COLOURS_PER_CHANNEL = 8
COLOURS = COLOURS_PER_CHANNEL**3
# Table 1: layers and width. Eight heads in all but XL, which has 64.
SIZES = {"s": (24, 512, 8), "m": (36, 1024, 8), "l": (48, 1536, 16), "xl": (60, 3072, 64)}


def grid_of_colours() -> Tensor:
    """(512, 3) in -1..1: centres of equal cubes, so that no 8-bit colour is as near to two of them."""
    level = (torch.arange(COLOURS_PER_CHANNEL) + 0.5) / COLOURS_PER_CHANNEL * 2 - 1  # (8,)
    return torch.cartesian_prod(level, level, level)  # (512, 3)


class ImageGpt(nn.Module):
    """(N, 3, 32, 32) in -1..1 → (N, classes) logits."""

    clusters: Tensor

    def __init__(self, size: str, classes: int = 1000) -> None:
        super().__init__()
        layers, width, heads = SIZES[size]
        config = ImageGPTConfig(n_layer=layers, n_embd=width, n_head=heads, use_cache=False)
        config.num_labels = classes
        self.model = ImageGPTForImageClassification(config)
        self.register_buffer("clusters", grid_of_colours())

    def tokens(self, x: Tensor) -> Tensor:
        """(N, 1024) int64: the index of every pixel's nearest colour, row by row."""
        pixels = x.flatten(2).transpose(1, 2)  # (N, 1024, 3)
        # |p - c|² without |p|², which is the same for every colour.
        distance = (self.clusters**2).sum(1) - 2 * pixels @ self.clusters.T  # (N, 1024, 512)
        return distance.argmin(-1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.model(input_ids=self.tokens(x)).logits  # (N, classes)
        return out
