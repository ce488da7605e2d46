"""Anchor-free people detector: a top-down neck on strides 8, 16, 32 and one head shared by the levels."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from export.starter.backbone import CHANNELS, STRIDES
from export.starter.layers import Lateral, Separable, tail_from, upsample_to

LEVEL_STRIDES = STRIDES[1:]


@dataclass(frozen=True)
class DetectConfig:
    """What a detection head is built from; `tail` is the first backbone stage it owns (4 = none)."""

    width: int = 96
    tail: int = 4
    drop_path: float = 0.0


@dataclass(frozen=True)
class Dense:
    """One prediction per point: logits (N, P), boxes (N, P, 4) xyxy in px of the canvas."""

    logits: Tensor
    boxes: Tensor


class DetectHead(nn.Module):
    """Backbone maps → a score and a box for every point of strides 8, 16 and 32."""

    def __init__(self, config: DetectConfig) -> None:
        super().__init__()
        width = config.width
        self.first = config.tail
        self.width = config.width
        self.tail = tail_from(config.tail, config.drop_path)
        self.laterals = nn.ModuleList(Lateral(channels, width) for channels in CHANNELS[1:])
        self.downward = nn.ModuleList(Separable(width, width) for _ in LEVEL_STRIDES)
        self.score_tower = nn.ModuleList(Separable(width, width, levels=3) for _ in range(2))
        self.box_tower = nn.ModuleList(Separable(width, width, levels=3) for _ in range(2))
        self.score = nn.Conv2d(width, 1, 1)
        self.box = nn.Conv2d(width, 4, 1)
        nn.init.normal_(self.score.weight, std=0.01)
        nn.init.constant_(self.score.bias, -4.0)  # type: ignore[arg-type]  # nobody, until proven otherwise
        nn.init.normal_(self.box.weight, std=0.01)
        nn.init.constant_(self.box.bias, 1.0)  # type: ignore[arg-type]  # e strides to each side

    def forward(self, maps: list[Tensor]) -> Dense:
        """maps: strides 4.. up to the last frozen stage, as `backbone.run_stages` gives them."""
        maps = list(maps[: self.first])
        for stage in self.tail:
            maps.append(stage(maps[-1]))
        neck = self._neck(maps[1:])
        logits, boxes = [], []
        for level, x in enumerate(neck):
            scored, boxed = x, x
            for layer in self.score_tower:
                scored = layer(scored, level)
            for layer in self.box_tower:
                boxed = layer(boxed, level)
            logits.append(self.score(scored).flatten(1))  # (N, hw)
            boxes.append(self._decode(self.box(boxed), LEVEL_STRIDES[level]))
        return Dense(torch.cat(logits, 1), torch.cat(boxes, 1))

    def _neck(self, maps: list[Tensor]) -> list[Tensor]:
        sides = [lateral(x) for lateral, x in zip(self.laterals, maps, strict=True)]
        outputs = [self.downward[2](sides[2])]
        for level in (1, 0):
            outputs.insert(0, self.downward[level](sides[level] + upsample_to(outputs[0], sides[level])))
        return outputs

    @staticmethod
    def _decode(distances: Tensor, stride: int) -> Tensor:
        """(N, 4, h, w) log distances to the four sides in strides → (N, hw, 4) xyxy px.

        Source: Tian et al. 2019, "FCOS", section 3.1.
        """
        points = grid_points(distances.shape[-2], distances.shape[-1], stride).to(distances.device)
        sides = distances.clamp(-6.0, 6.0).exp().flatten(2).transpose(1, 2) * stride  # (N, hw, 4)
        return torch.cat([points - sides[..., :2], points + sides[..., 2:]], -1)


def grid_points(height: int, width: int, stride: int) -> Tensor:
    """(height * width, 2) float32: x, y of the cells' centres in px, row by row."""
    ys = (torch.arange(height, dtype=torch.float32) + 0.5) * stride
    xs = (torch.arange(width, dtype=torch.float32) + 0.5) * stride
    grid = torch.stack(torch.meshgrid(ys, xs, indexing="ij"), -1)  # (h, w, 2) y, x
    return grid.flip(-1).reshape(-1, 2)


def all_points(canvas_hw: tuple[int, int]) -> Tensor:
    """(P, 2) float32: every point of every level, in the order of `Dense`."""
    return torch.cat([grid_points(canvas_hw[0] // s, canvas_hw[1] // s, s) for s in LEVEL_STRIDES])
