"""MaX-DeepLab-S: masks and their classes straight from a memory that reads and writes the picture's features.

    image ─▶ stem ─▶ 3 blocks ─▶ 4 blocks ─▶ 6 blocks ─▶ 4 axial blocks ─▶ fuse, block ─▶ fuse, block ─▶ 5×5
    stride    2         4 │         8 │         16            16  ▲ │         8 ▲             4 ▲          │
                          │           └───────────────────────────│─│───────────┘               │          │
                          └───────────────────────────────────────│─│───────────────────────────┘          ▼
                                                                  │ ▼              ┌─▶ a kernel per slot ─▶ · ─▶ masks
    memory, 128 slots ───────────────────────────────────▶ a dual path after each ─┴─▶ 134 classes per slot

The first of the six blocks is convolutional, for it comes from stride 8; the other five are axial. Dual path, all but
pixel to pixel, which the axial block before it does:

    memory ─▶ looks at pixels and memory ─▶ + ─▶ 2048 ─▶ + ─▶ memory
    pixels ─▶ looks at memory ────────────▶ + ──────────────▶ pixels

Sources: Wang et al. (arXiv:2012.00759), sections 3.2 to 3.4, and google-research/deeplab2 for what they leave
out: model/encoder/axial_resnet.py and axial_resnet_instances.py, model/layers/dual_path_transformer.py and
resized_fuse.py, model/decoder/max_deeplab.py, configs/coco/max_deeplab/max_deeplab_s_os16_res641_400k.textproto. The
auxiliary semantic head and its decoder are for training alone. On COCO: PQ 48.4 in the paper, 47.0 in deeplab2 at 641².
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.architectures.axial_resnet import EPS, HEADS, Block, conv_norm, inception_stem

MEMORY, HIDDEN = 256, 2048
# Of the dual path: its bottleneck, and its queries, keys and values.
NARROW, DEPTHS = 256, (128, 128, 256)
EMBEDDING = 128
# How sure of no thing at all every slot is before training.
VOID_PRIOR = 0.9


def line_norm(before: int, after: int) -> nn.Sequential:
    """Of a line of places or slots: (N, before, L) → (N, after, L)."""
    return nn.Sequential(nn.Conv1d(before, after, 1, bias=False), nn.BatchNorm1d(after, eps=EPS))


class Attention(nn.Module):
    """queries (N, K, L), keys (N, K, M), values (N, V, M) → (N, after, L)."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.similarity_norm = nn.BatchNorm2d(HEADS, eps=EPS)
        self.seen_norm = nn.BatchNorm1d(DEPTHS[2], eps=EPS)
        self.out = nn.Conv1d(DEPTHS[2], after, 1, bias=False)
        self.last_norm = nn.BatchNorm1d(after, eps=EPS)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        q, k, v = (x.reshape(-1, HEADS, x.shape[1] // HEADS, x.shape[2]) for x in (queries, keys, values))
        weights = self.similarity_norm(torch.einsum("nhdl,nhdm->nhlm", q, k)).softmax(-1)
        seen = torch.einsum("nhlm,nhdm->nhdl", weights, v).flatten(1, 2)
        out: Tensor = self.last_norm(self.out(self.seen_norm(seen).relu()))
        return out


class DualPath(nn.Module):
    """pixels (N, C, H, W), not activated, and memory (N, 256, slots) → both."""

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.pixels_in, self.pixels_qkv = line_norm(pixels, NARROW), line_norm(NARROW, sum(DEPTHS))
        self.memory_in, self.memory_qkv = line_norm(MEMORY, NARROW), line_norm(NARROW, sum(DEPTHS))
        self.pixels_attention, self.memory_attention = Attention(pixels), Attention(MEMORY)
        self.feed_forward = nn.Sequential(
            line_norm(MEMORY, HIDDEN), nn.ReLU(), nn.Conv1d(HIDDEN, MEMORY, 1, bias=False)
        )
        self.last_norm = nn.BatchNorm1d(MEMORY, eps=EPS)

    def forward(self, pixels: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        line = pixels.flatten(2).relu()  # (N, C, H · W)
        pixels_q, pixels_k, pixels_v = self.pixels_qkv(self.pixels_in(line).relu()).split(DEPTHS, 1)
        memory_q, memory_k, memory_v = self.memory_qkv(self.memory_in(memory).relu()).split(DEPTHS, 1)
        every_k, every_v = torch.cat([pixels_k, memory_k], 2), torch.cat([pixels_v, memory_v], 2)
        memory = (memory + self.memory_attention(memory_q, every_k, every_v)).relu()
        memory = (memory + self.last_norm(self.feed_forward(memory))).relu()
        change = self.pixels_attention(pixels_q, memory_k, memory_v)
        return pixels + change.reshape(-1, *pixels.shape[1:]), memory


class Fuse(nn.Module):
    """low (N, C, h, w), fine (N, after, H, W) → (N, after, H, W); none is activated."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.project = conv_norm(before, after)

    def forward(self, low: Tensor, fine: Tensor) -> Tensor:
        size = fine.shape[2:]
        return fine + F.interpolate(self.project(low.relu()), size=size, mode="bilinear", align_corners=True)


class MaskHead(nn.Module):
    """pixels (N, C, h, w), memory (N, 256, slots) → logits (N, slots, h, w)."""

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.embed_pixels = nn.Sequential(
            *(conv_norm(pixels, pixels, 5, groups=pixels), nn.ReLU(), conv_norm(pixels, 256), nn.ReLU()),
            *(nn.Conv2d(256, EMBEDDING, 1), nn.BatchNorm2d(EMBEDDING, eps=EPS)),
        )
        self.embed_memory = nn.Sequential(line_norm(MEMORY, MEMORY), nn.ReLU(), line_norm(MEMORY, EMBEDDING))
        # One scale and one shift for all of them: no slot is preferred.
        self.norm = nn.BatchNorm2d(1, eps=EPS)
        nn.init.constant_(self.norm.weight, 0.1)

    def forward(self, pixels: Tensor, memory: Tensor) -> Tensor:
        directions = F.normalize(self.embed_pixels(pixels), dim=1, eps=1e-6)
        logits = torch.einsum("ndq,ndhw->nqhw", self.embed_memory(memory), directions)
        out: Tensor = self.norm(logits.flatten(2)[:, None])  # (N, 1, slots, h · w)
        return out.reshape(-1, memory.shape[2], *pixels.shape[2:])


class MaxDeepLab(nn.Module):
    """x (N, 3, H, W), sides 16 · k + 1 → class logits (N, slots, classes + 1), the last of them for no thing at all,
    and mask logits (N, slots, H/4, W/4), whose corners are the picture's."""

    def __init__(self, classes: int = 133, slots: int = 128, width: int = 64) -> None:
        super().__init__()
        stride4, stride8, stride16, last = 4 * width, 8 * width, 16 * width, 32 * width  # channels
        self.stem = inception_stem(width)
        self.stage2 = _stage(2 * width, width, [False] * 3)
        self.stage3 = _stage(stride4, 2 * width, [False] * 4)
        self.stage4 = _stage(stride8, 4 * width, [False, *[True] * 5])
        self.stage5 = nn.ModuleList(Block(stride16 if i == 0 else last, 8 * width, axial=True) for i in range(4))
        self.dual_paths = nn.ModuleList(DualPath(last) for _ in range(4))
        self.memory = nn.Parameter(nn.init.trunc_normal_(torch.empty(MEMORY, slots)))
        self.fuse8, self.decode8 = Fuse(last, stride8), Block(stride8, 2 * width)
        self.fuse4, self.decode4 = Fuse(stride8, stride4), Block(stride4, width)
        self.masks = MaskHead(stride4)
        self.class_embed = nn.Sequential(line_norm(MEMORY, MEMORY), nn.ReLU())
        self.class_logits = nn.Linear(MEMORY, classes + 1)
        nn.init.trunc_normal_(self.class_logits.weight, std=0.01)
        nn.init.zeros_(self.class_logits.bias)
        with torch.no_grad():
            self.class_logits.bias[-1] = math.log(classes * VOID_PRIOR / (1 - VOID_PRIOR))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        fine = self.stage2(self.stem(x))  # (N, 256, H/4, W/4)
        middle = self.stage3(fine)  # (N, 512, H/8, W/8)
        x = self.stage4(middle)  # (N, 1024, H/16, W/16)
        memory = self.memory.expand(x.shape[0], -1, -1)
        for block, dual_path in zip(self.stage5, self.dual_paths, strict=True):
            x, memory = dual_path(block(x), memory)  # (N, 2048, H/16, W/16), (N, 256, slots)
        x = self.decode8(self.fuse8(x, middle))  # (N, 512, H/8, W/8)
        x = self.decode4(self.fuse4(x, fine)).relu()  # (N, 256, H/4, W/4)
        classes: Tensor = self.class_logits(self.class_embed(memory).transpose(1, 2))
        return classes, self.masks(x, memory)


def _stage(before: int, width: int, axial: list[bool]) -> nn.Sequential:
    """Blocks, the first of which halves the map."""
    first = Block(before, width, stride=2, axial=axial[0])
    return nn.Sequential(first, *(Block(4 * width, width, axial=one) for one in axial[1:]))
