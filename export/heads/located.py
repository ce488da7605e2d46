"""What every detector and segmenter looks like under the graph contract, before its gates.

What decides is a threshold, a suppression or an argmax, and hides small errors or makes them large. So a graph is first
made with a second set of outputs, the numbers before that step, and judged on those; then they are cut off.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from export.catalogue.row import Rgb, Row

THINGS = ("boxes", "scores", "classes")


@dataclass(frozen=True, slots=True)
class Final:
    """A last layer (Linear or Conv2d), and what its outputs should look like where the weights are random.

    mean, std   of every channel over real pictures, as those of a trained network roughly are
    last_call   the layer answers after every stage of a decoder, and only the last answer counts
    shifts      (channel, what is added to its mean): a class that never wins, or one that mostly does
    """

    layer: nn.Module
    std: float
    mean: float = 0.0
    shifts: tuple[tuple[int, float], ...] = ()
    last_call: bool = False


def silent(channels: Iterable[int]) -> tuple[tuple[int, float], ...]:
    """Shifts for channels that a trained network never lets win."""
    return tuple((channel, -30.0) for channel in channels)


class LocatedGraph(nn.Module):
    """uint8 [N, H, W, 3] → the contract's outputs, then the taps: what the gates look at as well.

    finals      the last layers in stages: a later stage is fed by an earlier one
    enliven     whatever else random weights need before they behave like trained ones
    inner_step  as in export.reference: of a network that decides something inside, how much one decision changes
    """

    outputs: ClassVar[tuple[str, ...]]
    taps: ClassVar[tuple[str, ...]]
    inner_step: ClassVar[float] = 0.0

    def finals(self) -> tuple[tuple[Final, ...], ...]:
        return ()

    def enliven(self) -> None:
        return None


class OverPixels(LocatedGraph):
    """A network that takes the row's normalised pixels."""

    def __init__(self, module: Any, row: Row) -> None:
        super().__init__()
        self.pixels = Normalise(row.mean, row.std)
        self.module = module
        self.size_hw = row.resize.size_hw
        self.kinds = row.classes


class Normalise(nn.Module):
    """image (N, H, W, 3) uint8 → (N, 3, H, W), (x / 255 - mean) / std, in the module's own precision."""

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: Rgb, std: Rgb) -> None:
        super().__init__()
        mean_255 = torch.tensor(mean, dtype=torch.float64) * 255
        std_255 = torch.tensor(std, dtype=torch.float64) * 255
        self.register_buffer("scale", (1 / std_255).float().view(1, 3, 1, 1))
        self.register_buffer("shift", (-mean_255 / std_255).float().view(1, 3, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        x = image.permute(0, 3, 1, 2).contiguous().to(self.scale.dtype)
        return x * self.scale + self.shift


def take(x: Tensor, index: Tensor) -> Tensor:
    """x (N, P, D), index (N, K) → (N, K, D)."""
    return x.gather(1, index[..., None].expand(-1, -1, x.shape[-1]))


def clip_px(boxes: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """boxes (..., 4) xyxy px, inside the picture."""
    height, width = size_hw
    x, y = boxes[..., 0::2].clamp(0, width), boxes[..., 1::2].clamp(0, height)
    return torch.stack([x[..., 0], y[..., 0], x[..., 1], y[..., 1]], -1)


def to_unit(boxes: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """boxes (..., 4) xyxy px → 0..1 of the picture."""
    height, width = size_hw
    return boxes / torch.tensor([width, height, width, height], dtype=boxes.dtype)


def cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """boxes (..., 4): centre and size → edges."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], -1)
