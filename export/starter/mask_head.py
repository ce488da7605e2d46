"""A 28×28 mask for any box: features pooled inside the box, a few cheap convolutions."""

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align

from export.starter.backbone import CHANNELS, STRIDES
from export.starter.layers import Lateral, Separable, upsample_to

POOLED = 14
MAPS = 3  # backbone maps it looks at
MASK_SIDE = 2 * POOLED


class MaskHead(nn.Module):
    """The backbone's frozen maps at strides 4, 8 and 16 and any boxes → one mask per box.

    Pooling from the picture's maps keeps the cost per box at a few MFLOP, so that a fixed, padded number of boxes
    stays cheap. The mask belongs to the box and not to the point that found it, and nothing here depends on the
    detector: it is trained on true boxes, and a better detector needs no new mask head.
    """

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(Lateral(channels, width) for channels in CHANNELS[:MAPS])
        self.downward = nn.ModuleList(Separable(width, width) for _ in range(MAPS))
        self.tower = nn.Sequential(
            Separable(width + 2, 64),
            Separable(64, 64),
            Separable(64, 64),
            nn.Conv2d(64, 4, 1),
            nn.PixelShuffle(2),
        )
        steps = (torch.arange(POOLED, dtype=torch.float32) + 0.5) / POOLED * 2 - 1
        inside = torch.stack(torch.meshgrid(steps, steps, indexing="ij"))  # (2, 14, 14) in -1..1
        self.register_buffer("inside", inside[None], persistent=False)
        self.inside: Tensor

    def forward(self, maps: list[Tensor], rois: Tensor) -> Tensor:
        """maps at strides 4, 8, 16; rois (R, 5): row of the batch, xyxy px → (R, 28, 28) logits over each box."""
        sides = [lateral(x) for lateral, x in zip(self.laterals, maps[:MAPS], strict=True)]
        shared = self.downward[2](sides[2])
        for level in (1, 0):
            shared = self.downward[level](sides[level] + upsample_to(shared, sides[level]))
        pooled = roi_align(shared, rois, POOLED, 1.0 / STRIDES[0], sampling_ratio=2, aligned=True)
        where = self.inside.expand(pooled.shape[0], -1, -1, -1)  # where in the box a cell lies
        logits: Tensor = self.tower(torch.cat([pooled, where], 1))  # (R, 1, 28, 28)
        return logits[:, 0]
