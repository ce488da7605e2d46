"""`config.pbtxt` of entries that are good as they are: rewritten, not exported again, where its text is to change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from export.errors import RepositoryError
from service.entry_config import config_text, read_entry, read_onnx_entry, write_entry
from service.entry_files import CONFIG_FILE, ONNX_CONFIG_FILE
from service.errors import InvalidEntry
from service.manifest import Device


def device_of(entry: Path) -> Device:
    """What the entry's ONNX file is served on; `auto` if there is no entry."""
    try:
        return read_onnx_entry(entry).device
    except InvalidEntry:
        return "auto"


def settle(entry: Path, device: Device | None) -> bool:
    """Whether the entry's text was not what this exporter writes for the device; now it is.

    device  None: the one that the entry is written for. A plan is for GPUs, whatever the ONNX file is served on.

    One rename for each file, so that a server that reads it meanwhile gets the old text or the new. The config that a
    plan took the place of is kept in step. Raises RepositoryError.
    """
    changed = False
    try:
        for file in (CONFIG_FILE, ONNX_CONFIG_FILE):
            if (entry / file).is_file():
                card = read_entry(entry, file)
                if device is not None and card.plan is None:
                    card = replace(card, device=device)
                if (entry / file).read_text(encoding="utf-8") != config_text(card):
                    write_entry(card, entry, file)
                    changed = True
    except OSError as err:
        raise RepositoryError(f"{entry} cannot be written: {err.strerror}.") from err
    return changed
