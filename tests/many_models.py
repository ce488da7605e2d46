"""Many entries for the price of one: copies of an exported model under other names, as one folder."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from service.entry_config import read_entry, write_entry
from service.entry_files import onnx_path
from service.manifest import ModelCard
from service.residency import estimated_bytes


def copies(entry: Path, folder: Path, count: int) -> list[ModelCard]:
    """Writes `count` entries, `copy_00` and so on, and returns their cards, by name."""
    card = read_entry(entry)
    cards = [replace(card, name=f"copy_{i:02}", variant_of=f"copy_{i:02}") for i in range(count)]
    for copy in cards:
        graph = onnx_path(folder / copy.name)
        graph.parent.mkdir(parents=True)
        shutil.copyfile(onnx_path(entry), graph)
        write_entry(copy, folder / copy.name)
    return cards


def budget_bytes(card: ModelCard, count: int) -> int:
    """A memory budget for that many such models and not for one more, whatever their loads are measured to take."""
    return estimated_bytes(card) * count + estimated_bytes(card) // 2
