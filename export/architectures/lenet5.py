"""LeNet-5: two convolutions that share their weights over the picture, and three layers that do not.

LeCun, Bottou, Bengio, Haffner: Gradient-Based Learning Applied to Document Recognition (1998), section II.B, figure 2.

    32×32 ─▶ C1 6@28×28 ─▶ S2 6@14×14 ─▶ C3 16@10×10 ─▶ S4 16@5×5 ─▶ C5 120 ─▶ F6 84 ─▶ 10

As everybody builds it today: C3 sees all six maps (the paper leaves out 36 of 96 connections to save work, table I),
averages have no weights of their own, and the last layer is linear instead of radial basis functions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LeNet5(nn.Module):
    """(N, 3, 32, 32), three equal planes, → (N, 10) logits."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(1, 6, 5)
        self.c3 = nn.Conv2d(6, 16, 5)
        self.c5 = nn.Linear(16 * 5 * 5, 120)
        self.f6 = nn.Linear(120, 84)
        self.head = nn.Linear(84, classes)
        self.pool = nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        # The gateway's pictures are RGB. A grey one has the same number three times, so the mean is that number.
        x = x.mean(1, keepdim=True)  # (N, 1, 32, 32)
        x = self.pool(torch.tanh(self.c1(x)))  # (N, 6, 14, 14)
        x = self.pool(torch.tanh(self.c3(x)))  # (N, 16, 5, 5)
        x = torch.tanh(self.c5(x.flatten(1)))  # (N, 120)
        x = torch.tanh(self.f6(x))  # (N, 84)
        out: Tensor = self.head(x)  # (N, 10)
        return out
