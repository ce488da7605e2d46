"""The training loop all heads share: AdamW, warm-up and cosine, an average of the weights."""

import copy
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

Head = TypeVar("Head", bound=nn.Module)


@dataclass(frozen=True)
class Schedule:
    """How long and how fast; the tail (unfrozen backbone stages) learns at `tail_rate` times the rate.

    It stays frozen for the first `thaw` epochs: cheaper, and a random head teaches it nothing.
    """

    epochs: int
    thaw: int = 0
    batch: int = 16
    rate: float = 2e-3
    tail_rate: float = 0.1
    decay: float = 0.02
    average: float = 0.998
    seed: int = 0


def seed_everything(seed: int) -> None:
    """Seeds every generator used here; at most two threads, fewer with OMP_NUM_THREADS."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.set_num_threads(min(2, torch.get_num_threads()))


def fit(
    head: Head,
    count: int,
    loss_of: Callable[[npt.NDArray[np.int64]], Tensor],
    schedule: Schedule,
    report: Callable[[int, Head], None],
) -> Head:
    """The averaged head after training.

    loss_of   rows of the views → the loss of `head` on them.
    report    is given (epoch, averaged head in eval mode).
    """
    head.to(memory_format=torch.channels_last)  # a third faster on CPUs
    tail = {id(p) for name, p in head.named_parameters() if name.startswith("tail.")}
    groups = [
        {"params": [p for p in head.parameters() if id(p) not in tail]},
        {"params": [p for p in head.parameters() if id(p) in tail]},
    ]
    rates = [schedule.rate, schedule.rate * schedule.tail_rate]
    optimiser = torch.optim.AdamW([g for g in groups if g["params"]], lr=schedule.rate, weight_decay=schedule.decay)
    average = copy.deepcopy(head).eval()
    order = np.random.default_rng(schedule.seed)
    steps = schedule.epochs * (count // schedule.batch)
    step = 0
    for epoch in range(schedule.epochs):
        head.train()
        for parameter in head.parameters():
            parameter.requires_grad_(epoch >= schedule.thaw or id(parameter) not in tail)
        losses, started = [], time.perf_counter()
        rows = order.permutation(count)
        for start in range(0, count - schedule.batch + 1, schedule.batch):
            pace = min(1.0, (step + 1) / 100) * (0.5 + 0.5 * math.cos(math.pi * step / steps))
            for group, rate in zip(optimiser.param_groups, rates, strict=False):
                group["lr"] = rate * pace
            loss = loss_of(np.sort(rows[start : start + schedule.batch]))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(head.parameters(), 10.0)
            optimiser.step()
            step += 1
            _follow(average, head, min(schedule.average, (step + 1) / (step + 10)))
            losses.append(loss.item())
        seconds = time.perf_counter() - started
        print(f"epoch {epoch + 1}/{schedule.epochs} loss {np.mean(losses):.4f} {seconds:.0f} s", flush=True)
        report(epoch + 1, average)
    return average


@torch.no_grad()
def _follow(average: nn.Module, head: nn.Module, keep: float) -> None:
    for mine, theirs in zip(average.state_dict().values(), head.state_dict().values(), strict=True):
        if mine.dtype.is_floating_point:
            mine.lerp_(theirs, 1 - keep)
        else:
            mine.copy_(theirs)
