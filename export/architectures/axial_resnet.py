"""Axial-ResNet: a residual network whose last blocks look along columns and then rows instead of at 3×3 places.

    x ─▶ ReLU ─┬─▶ 1×1 ─▶ 3×3 ─────────────────────▶ 1×1 ─┐        a convolutional block
               └─▶ (1×1, where the shape changes) ────────┴─▶ +

    x ─▶ ReLU ─┬─▶ 1×1 ─▶ column axis ─▶ row axis ─▶ 1×1 ─┐        an axial block
               └─▶ (1×1, where the shape changes) ────────┴─▶ +

Position-sensitive attention: what a place looks for and what it finds both depend on how far it is away.

    q · k,  q · r_q,  k · r_k ─▶ BatchNorm each ─▶ + ─▶ softmax ─▶ weights w
    Σ w v,  Σ w r_v           ─▶ BatchNorm each ─▶ +

Sources: Wang et al. (arXiv:2003.07853), section 3; google-research/deeplab2 for what they
leave out: model/layers/axial_layers.py, axial_blocks.py and stems.py.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

HEADS = 8
# Relative positions that there are vectors for: from -254 to 254.
MOST_PLACES = 255
# As in the authors' trainer.proto.
EPS = 1e-3


def conv_norm(before: int, after: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(after, eps=EPS),
    )


def inception_stem(width: int) -> nn.Sequential:
    """(N, 3, H, W) → (N, 2 · width, H/2, W/2), not activated."""
    return nn.Sequential(
        *(conv_norm(3, width, 3, stride=2), nn.ReLU()),
        *(conv_norm(width, width, 3), nn.ReLU()),
        conv_norm(width, 2 * width, 3),
    )


class AxialAttention(nn.Module):
    """(N, before, H, W) → (N, values, H, W): every place looks along its column, or its row, of at most 255 places."""

    def __init__(self, before: int, keys: int, values: int, columns: bool) -> None:
        super().__init__()
        self.columns, self.depths = columns, (keys, keys, values)
        self.qkv = conv_norm(before, 2 * keys + values)
        self.q_positions, self.k_positions, self.v_positions = (
            nn.Parameter(nn.init.trunc_normal_(torch.empty(2 * MOST_PLACES - 1, depth // HEADS)))
            for depth in self.depths
        )
        self.similarity_norm = nn.BatchNorm2d(3 * HEADS, eps=EPS)
        self.seen_norm = nn.BatchNorm1d(2 * values, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        if self.columns:
            x = x.transpose(2, 3)
        lines, places = x.shape[2:]  # b counts the lines of all pictures, l and m places of one, h heads
        q, k, v = (_by_head(part) for part in self.qkv(x).split(self.depths, 1))  # (b, h, d, l)
        at = torch.arange(places)
        apart = at[None, :] - at[:, None] + MOST_PLACES - 1  # (l, m)
        similarities = [
            torch.einsum("bhdl,bhdm->bhlm", q, k),
            torch.einsum("bhdl,lmd->bhlm", q, self.q_positions[apart]),
            torch.einsum("bhdm,lmd->bhlm", k, self.k_positions[apart]),
        ]
        similarity = self.similarity_norm(torch.cat(similarities, 1))  # (b, 3 · h, l, m)
        weights = similarity.reshape(-1, 3, HEADS, places, places).sum(1).softmax(-1)  # (b, h, l, m)
        seen = [
            torch.einsum("bhlm,bhdm->bhdl", weights, v),
            torch.einsum("bhlm,lmd->bhdl", weights, self.v_positions[apart]),
        ]
        values = self.depths[2]
        out: Tensor = self.seen_norm(torch.cat(seen, 1).flatten(1, 2))  # (b, 2 · values, l)
        out = out.reshape(-1, 2, values, places).sum(1)  # (b, values, l)
        out = out.reshape(-1, lines, values, places).transpose(1, 2)  # (N, values, lines, l)
        return out.transpose(2, 3) if self.columns else out


def _by_head(x: Tensor) -> Tensor:
    """(N, h · d, lines, l) → (N · lines, h, d, l)."""
    return x.transpose(1, 2).reshape(-1, HEADS, x.shape[1] // HEADS, x.shape[3])


class Block(nn.Module):
    """(N, before, H, W) → (N, 4 · width, H / stride, W / stride); neither is activated."""

    def __init__(self, before: int, width: int, stride: int = 1, axial: bool = False) -> None:
        super().__init__()
        after = 4 * width
        if axial:
            inner = 2 * width
            middle: list[nn.Module] = [
                AxialAttention(inner, width, inner, columns=True),
                AxialAttention(inner, width, inner, columns=False),
            ]
        else:
            inner = width
            middle = [conv_norm(inner, inner, 3, stride)]
        self.body = nn.Sequential(
            *(conv_norm(before, inner), nn.ReLU(), *middle, nn.ReLU()),
            nn.Conv2d(inner, after, 1, bias=False),
        )
        self.last_norm = nn.BatchNorm2d(after, eps=EPS)
        self.shortcut = nn.Identity() if before == after else conv_norm(before, after, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        x = x.relu()
        out: Tensor = self.last_norm(self.body(x)) + self.shortcut(x)
        return out
