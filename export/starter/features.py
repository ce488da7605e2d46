"""Frozen features of many views, computed once and kept as float16 files beside their labels."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from export.cache import training_folder
from export.starter.backbone import CHANNELS, STRIDES, load_stages, normalise, package, run_stages
from export.starter.pictures import Pixels

Draw = Callable[[int, np.random.Generator], tuple[Pixels, Pixels]]


@dataclass(frozen=True)
class Views:
    """Cached views: `levels[i]` (V, C, h, w) float16 at STRIDES[i], `labels` (V, H, W) uint8."""

    levels: list[npt.NDArray[np.float16]]
    labels: Pixels

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, levels: int) -> "Views":
        """The same views with fewer levels."""
        return Views(self.levels[:levels], self.labels)

    def take(self, rows: npt.NDArray[np.int64]) -> tuple[list[Tensor], Pixels]:
        """(levels as float32 tensors, labels) of some rows."""
        return [
            torch.from_numpy(level[rows]).float().contiguous(memory_format=torch.channels_last) for level in self.levels
        ], self.labels[rows]


def cache_views(name: str, key: object, count: int, canvas_hw: tuple[int, int], levels: int, draw: Draw) -> Views:
    """`count` views drawn by `draw(index, rng)` and their first `levels` feature maps, from the cache if there.

    Every view has a generator of its own, so the cache is the same whatever was computed before.
    """
    digest = hashlib.sha256(json.dumps([key, count, canvas_hw, levels, package().sha256]).encode()).hexdigest()[:12]
    folder = training_folder(f"{name}-{digest}")
    if not (folder / "complete").exists():
        _write_views(folder, count, canvas_hw, levels, draw)
    maps = [np.load(folder / f"stride{STRIDES[i]}.npy", mmap_mode="r") for i in range(levels)]
    return Views(maps, np.load(folder / "labels.npy"))


@torch.inference_mode()
def _write_views(folder: Path, count: int, canvas_hw: tuple[int, int], levels: int, draw: Draw) -> None:
    stages = load_stages()[:levels].to(memory_format=torch.channels_last)
    files = [
        np.lib.format.open_memmap(
            folder / f"stride{STRIDES[i]}.npy",
            mode="w+",
            dtype=np.float16,
            shape=(count, CHANNELS[i], canvas_hw[0] // STRIDES[i], canvas_hw[1] // STRIDES[i]),
        )
        for i in range(levels)
    ]
    labels = np.zeros((count, *canvas_hw), np.uint8)
    for start in range(0, count, 8):
        rows = range(start, min(start + 8, count))
        views = [draw(index, np.random.default_rng([index, 20_240])) for index in rows]
        labels[rows.start : rows.stop] = np.stack([people for _, people in views])
        images = torch.from_numpy(np.stack([image for image, _ in views]))
        maps = run_stages(stages, normalise(images).contiguous(memory_format=torch.channels_last))
        for file, level in zip(files, maps, strict=True):
            file[rows.start : rows.stop] = level.half().numpy()
        if start % 400 == 0:
            print(f"{folder.name}: {start}/{count} views", flush=True)
    for file in files:
        file.flush()
    np.save(folder / "labels.npy", labels)
    (folder / "complete").touch()
