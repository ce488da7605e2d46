"""U-Net's way back up: from stride 32 to stride 4, skips, and the picture's context at the bottom."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from export.starter.backbone import CHANNELS
from export.starter.layers import Lateral, Separable, tail_from, upsample_to


@dataclass(frozen=True)
class SegmentConfig:
    """What a segmentation head is built from; `tail` is the first backbone stage it owns (4 = none)."""

    widths: tuple[int, ...] = (48, 64, 96, 128)  # at strides 4, 8, 16, 32
    tail: int = 3
    drop_path: float = 0.0
    dropout: float = 0.1
    classes: int = 11


class SegmentHead(nn.Module):
    """Backbone maps → (N, classes, H/4, W/4) logits."""

    def __init__(self, config: SegmentConfig) -> None:
        super().__init__()
        widths = config.widths
        self.first = config.tail
        self.tail = tail_from(config.tail, config.drop_path)
        self.laterals = nn.ModuleList(
            Lateral(channels, width) for channels, width in zip(CHANNELS, widths, strict=True)
        )
        self.context = nn.Conv2d(CHANNELS[-1], widths[3], 1)
        self.upward = nn.ModuleList(
            nn.Sequential(Separable(width, width), Separable(width, above))
            for width, above in zip(widths, (widths[0], *widths), strict=False)
        )
        self.dropout = nn.Dropout2d(config.dropout)
        self.classify = nn.Conv2d(widths[0], config.classes, 1)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """maps: strides 4.. up to the last frozen stage, as `backbone.run_stages` gives them."""
        maps = list(maps[: self.first])
        for stage in self.tail:
            maps.append(stage(maps[-1]))
        x = self.laterals[3](maps[3]) + self.context(maps[3].mean((2, 3), keepdim=True))
        for level in (3, 2, 1, 0):
            if level < 3:
                side = self.laterals[level](maps[level])
                x = side + upsample_to(x, side)
            x = self.upward[level](F.relu(x))
        logits: Tensor = self.classify(self.dropout(x))
        return logits
