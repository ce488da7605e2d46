"""A 28×28 mask for any box: features pooled inside the box, a few cheap convolutions."""

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align

from export.starter.backbone import CHANNELS, STRIDES
from export.starter.layers import Lateral, Separable, upsample_to

POOLED = 14
MASK_SIDE = 2 * POOLED


class MaskHead(nn.Module):
    """The detector's stride-8 neck map and the backbone's stride-4 map → one mask per box.

    Pooling from the picture's maps keeps the cost per box at a few MFLOP, so that a fixed, padded number of boxes
    stays cheap; the mask belongs to the box and not to the point that found it, so it can be trained on true boxes.
    """

    def __init__(self, neck_width: int = 96, width: int = 48) -> None:
        super().__init__()
        self.lateral = Lateral(CHANNELS[0], width)
        self.from_neck = Lateral(neck_width, width)
        self.smooth = Separable(width, width)
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

    def forward(self, stride4: Tensor, neck8: Tensor, rois: Tensor) -> Tensor:
        """rois (R, 5): row of the batch, xyxy px of the canvas → (R, 28, 28) logits, each over its box."""
        shared = self.smooth(self.lateral(stride4) + upsample_to(self.from_neck(neck8), stride4))
        pooled = roi_align(shared, rois, POOLED, 1.0 / STRIDES[0], sampling_ratio=2, aligned=True)
        where = self.inside.expand(pooled.shape[0], -1, -1, -1)  # where in the box a cell lies
        logits: Tensor = self.tower(torch.cat([pooled, where], 1))  # (R, 1, 28, 28)
        return logits[:, 0]
