"""YOLO, three generations. They give their maps; export.heads.yolo reads boxes from them.

v1  24 convolutions, 2 full layers: 7×7 cells, each with 2 boxes and one distribution over the classes
v2  Darknet-19: 13×13 cells × 5 anchors; the finer map is folded in (passthrough)
v3  Darknet-53: 3 anchors each at strides 32, 16 and 8, on a small pyramid

Sources: arXiv:1506.02640, figure 3; arXiv:1612.08242, section 2; arXiv:1804.02767, section 2.3, and the authors'
cfg/yolov2.cfg and cfg/yolov3.cfg for what the papers leave out.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.architectures.darknet import SLOPE, Block, Darknet19, Darknet53, squeezed

CELLS, BOXES = 7, 2
# Width and height in cells of the 13×13 map. Source: cfg/yolov2.cfg, for COCO.
ANCHORS_V2 = ((0.57273, 0.677385), (1.87446, 2.06253), (3.33843, 5.47434), (7.88282, 3.52778), (9.77052, 9.16828))
# Width and height in pixels, by stride. Source: arXiv:1804.02767, section 2.3.
ANCHORS_V3 = {
    32: ((116.0, 90.0), (156.0, 198.0), (373.0, 326.0)),
    16: ((30.0, 61.0), (62.0, 45.0), (59.0, 119.0)),
    8: ((10.0, 13.0), (16.0, 30.0), (33.0, 23.0)),
}


class YoloV1(nn.Module):
    """x (N, 3, 448, 448) → (N, 7, 7, 2 · 5 + classes): per cell two boxes (x, y, √w, √h, confidence), then classes."""

    def __init__(self, classes: int = 20, width: int = 4096) -> None:
        super().__init__()
        self.classes = classes
        self.body = nn.Sequential(
            *_plain(3, (64, 7, 2)),
            nn.MaxPool2d(2),
            *_plain(64, (192, 3, 1)),
            nn.MaxPool2d(2),
            *_plain(192, (128, 1, 1), (256, 3, 1), (256, 1, 1), (512, 3, 1)),
            nn.MaxPool2d(2),
            *_plain(512, *[(256, 1, 1), (512, 3, 1)] * 4, (512, 1, 1), (1024, 3, 1)),
            nn.MaxPool2d(2),
            *_plain(1024, *[(512, 1, 1), (1024, 3, 1)] * 2, (1024, 3, 1), (1024, 3, 2)),
            *_plain(1024, (1024, 3, 1), (1024, 3, 1)),
        )
        self.full = nn.Sequential(nn.Linear(1024 * CELLS**2, width), nn.LeakyReLU(SLOPE), nn.Dropout())
        self.out = nn.Linear(width, CELLS**2 * (5 * BOXES + classes))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.out(self.full(self.body(x).flatten(1)))
        return y.reshape(-1, CELLS, CELLS, 5 * BOXES + self.classes)


class YoloV2(nn.Module):
    """x (N, 3, H, W) → (N, 5 · (5 + classes), H/32, W/32): per anchor x, y, w, h, objectness, classes; all raw."""

    def __init__(self, classes: int = 80) -> None:
        super().__init__()
        self.classes = classes
        self.body = Darknet19()
        self.deep = nn.Sequential(Block(1024, 1024, 3), Block(1024, 1024, 3))
        self.passthrough = Block(512, 64, 1)
        self.merge = Block(1024 + 4 * 64, 1024, 3)
        self.out = nn.Conv2d(1024, len(ANCHORS_V2) * (5 + classes), 1)

    def forward(self, x: Tensor) -> Tensor:
        fine, coarse = self.body(x)
        beside = F.pixel_unshuffle(self.passthrough(fine), 2)  # (N, 256, H/32, W/32)
        out: Tensor = self.out(self.merge(torch.cat([beside, self.deep(coarse)], 1)))
        return out


class YoloV3(nn.Module):
    """x (N, 3, H, W) → maps at strides 32, 16, 8, each (N, 3 · (5 + classes), h, w): raw as above."""

    def __init__(self, classes: int = 80) -> None:
        super().__init__()
        self.classes = classes
        self.body = Darknet53()
        outputs = 3 * (5 + classes)
        self.necks, self.lasts, self.outs, self.ups = (nn.ModuleList() for _ in range(4))
        inputs = 1024
        for narrow in (512, 256, 128):
            blocks = [Block(inputs, narrow, 1), *squeezed(narrow, 2 * narrow, narrow, 4)]
            self.necks.append(nn.Sequential(*blocks))
            self.lasts.append(Block(narrow, 2 * narrow, 3))
            self.outs.append(nn.Conv2d(2 * narrow, outputs, 1))
            if narrow > 128:
                self.ups.append(Block(narrow, narrow // 2, 1))
            inputs = narrow + narrow // 2  # the body's next map and the one from above

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        maps = list(self.body(x))
        y = maps.pop()
        found: list[Tensor] = []
        for i, (neck, last, out) in enumerate(zip(self.necks, self.lasts, self.outs, strict=True)):
            y = neck(y)
            found.append(out(last(y)))
            if maps:
                up = F.interpolate(self.ups[i](y), scale_factor=2.0, mode="nearest")
                y = torch.cat([up, maps.pop()], 1)
        return found[0], found[1], found[2]


def _plain(inputs: int, *layers: tuple[int, int, int]) -> list[nn.Module]:
    """Convolutions (outputs, kernel, stride), each with a bias and a leaky ReLU: YOLO v1 has no BatchNorm."""
    found: list[nn.Module] = []
    for outputs, kernel, stride in layers:
        conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2)
        # 24 of them without BatchNorm: any narrower, and nothing of the picture is left at the end.
        nn.init.kaiming_normal_(conv.weight, a=SLOPE)
        found += [conv, nn.LeakyReLU(SLOPE)]
        inputs = outputs
    return found
