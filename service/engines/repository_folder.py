"""A model repository on disk: its entries' cards, read anew only where a file changed."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from service.entry_config import read_onnx_entry
from service.entry_files import CONFIG_FILE, onnx_path
from service.errors import InvalidEntry
from service.integrity import EXTERNAL_DATA_FILE, named_entries
from service.manifest import ModelCard

log = logging.getLogger(__name__)

# mtime and size of the config, the ONNX file and its external data: enough to see that an entry was exported anew.
Signature = tuple[tuple[int, int] | None, ...]


@dataclass(frozen=True, slots=True)
class OnDisk:
    """An entry as it lies there: `card` is None if its config cannot be read or its graph is missing: `refused`."""

    signature: Signature
    card: ModelCard | None
    refused: str = ""


class RepositoryFolder:
    """Scanned from one thread at a time. What is wrong with an entry is logged once for each state of its files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[str, OnDisk] = {}

    def scan(self) -> dict[str, OnDisk]:
        """Entry name → what lies there; empty if there is no such folder."""
        self._known = {entry.name: self._look(entry) for entry in named_entries(self.folder)}
        return self._known

    def _look(self, entry: Path) -> OnDisk:
        signature = signature_of(entry)
        known = self._known.get(entry.name)
        if known is not None and known.signature == signature:
            return known
        try:
            if signature[1] is None:
                raise InvalidEntry(f"{entry.name}: {onnx_path(entry).name} is missing", "incomplete")
            return OnDisk(signature, read_onnx_entry(entry))
        except InvalidEntry as err:
            log.error("refused: %s", err.detail)
            return OnDisk(signature, None, err.reason)


def signature_of(entry: Path) -> Signature:
    """Changes whenever a file of the entry does."""
    graph = onnx_path(entry)
    return tuple(_stamp(path) for path in (entry / CONFIG_FILE, graph, graph.with_name(EXTERNAL_DATA_FILE)))


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size
