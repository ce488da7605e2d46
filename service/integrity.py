"""Whether an entry is what its card says: every byte that will be loaded is vouched for by a digest.

The card vouches for model.onnx (`onnx_sha256`) and, where the weights do not fit into it, for model.onnx.data (the
`external_data` gate). A graph that takes weights from anywhere else is refused, wherever that is.
"""

from __future__ import annotations

from pathlib import Path

from service.entry_config import read_onnx_entry
from service.entry_files import CONFIG_FILE, ONNX_FILE, file_sha256, onnx_path
from service.errors import InvalidEntry
from service.manifest import ModelCard
from service.onnx_references import external_locations

EXTERNAL_DATA_FILE = f"{ONNX_FILE}.data"
EXTERNAL_DATA_GATE = "external_data"


def check_entry(entry: Path) -> ModelCard:
    """The card of an entry that is whole. Raises InvalidEntry, naming the entry, what is wrong, and the reason."""
    card = read_onnx_entry(entry)
    check_files(entry, card)
    return card


def check_files(entry: Path, card: ModelCard) -> None:
    """Compares the entry's files with its card. Raises InvalidEntry: incomplete, digest, external-data, graph."""
    path = onnx_path(entry)
    if not path.is_file():
        raise InvalidEntry(f"{entry.name}: {path.name} is missing", "incomplete")
    _check_digest(entry.name, path, card.onnx_sha256)
    try:
        locations = external_locations(path)
    except ValueError as err:
        raise InvalidEntry(f"{entry.name}: {path.name} cannot be read: {err}", "graph") from err
    elsewhere = locations - {EXTERNAL_DATA_FILE}
    if elsewhere:
        raise InvalidEntry(
            f"{entry.name}: its graph takes weights from {min(elsewhere)!r}, which is not {EXTERNAL_DATA_FILE}",
            "external-data",
        )
    vouched = dict(card.verification).get(EXTERNAL_DATA_GATE)
    if vouched is None and not locations:
        return
    data = path.with_name(EXTERNAL_DATA_FILE)
    if vouched is None:
        raise InvalidEntry(f"{entry.name}: nothing on its card vouches for {data.name}", "external-data")
    if not data.is_file():
        raise InvalidEntry(f"{entry.name}: {data.name} is missing", "incomplete")
    _check_digest(entry.name, data, vouched.rsplit(" ", 1)[-1])


def named_entries(repository: Path) -> list[Path]:
    """The folders of a repository that are entries: with a config, and not hidden or half made."""
    if not repository.is_dir():
        return []
    folders = [entry for entry in sorted(repository.iterdir()) if not entry.name.startswith(".") and entry.is_dir()]
    return [entry for entry in folders if (entry / CONFIG_FILE).is_file()]


def _check_digest(name: str, path: Path, expected: str) -> None:
    digest = file_sha256(path)
    if digest != expected:
        raise InvalidEntry(f"{name}: {path.name} has sha256 {digest}, its card says {expected}", "digest")
