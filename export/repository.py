"""The folder that is served: entries appear in it whole, or not at all.

<repository>/.staging-NAME-RANDOM/    being made by the process that has it locked
<repository>/.old-NAME-RANDOM/        the entry that is being replaced by it, for the length of two renames; locked too
<repository>/NAME/                    served

Exporters in several containers may share the folder: locks say who is at work (export.folder_lock), not process ids.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from export.catalogue.row import Row
from export.errors import RepositoryError
from export.external_data import external_data_is_whole
from export.folder_lock import locked
from export.sources import Source
from service.entry_config import read_entry
from service.entry_files import file_sha256, onnx_path
from service.errors import InvalidEntry
from service.manifest import ModelCard

# To be raised whenever the same row and weights would give another graph, or be judged by other gates.
EXPORTER_VERSION = 1

_TEMPORARY = re.compile(r"\.(?P<kind>staging|old)-(?P<name>.+)-[0-9a-f]+")


def _temporary(repository: Path, kind: Literal["staging", "old"], name: str) -> Path:
    """A path that nobody else has."""
    return repository / f".{kind}-{name}-{secrets.token_hex(8)}"


def recipe(row: Row, source: Source) -> str:
    """Hex digest of everything that an entry is made from: what of the row reaches it, weights, exporter."""
    of_the_row = (row.network, row.resize, row.mean, row.std, row.classes, row.batch_limit)
    for_the_card = (row.family, row.task, row.label_set, row.accuracy)
    made_from = (EXPORTER_VERSION, of_the_row, for_the_card, source.identity)
    return hashlib.sha256(repr(made_from).encode()).hexdigest()


def up_to_date(repository: Path, row: Row, sources: tuple[Source, ...]) -> ModelCard | None:
    """The card of the entry if it is whole and was made from this row and one of the sources by this exporter."""
    return entry_made_by(repository, row.name, {recipe(row, source) for source in sources})


def entry_made_by(repository: Path, name: str, recipes: set[str]) -> ModelCard | None:
    """The card of the entry if it is whole and was made by one of the recipes."""
    entry = repository / name
    try:
        card = read_entry(entry)
        whole = card.recipe in recipes and (
            file_sha256(onnx_path(entry)) == card.onnx_sha256 and external_data_is_whole(entry, card.verification)
        )
    except (InvalidEntry, OSError):
        return None
    return card if whole else None


@contextmanager
def staging(repository: Path, name: str) -> Iterator[Path]:
    """A folder to make the entry in; gone afterwards, unless `publish` has moved it. Raises RepositoryError."""
    folder = _temporary(repository, "staging", name)
    unwritable = f"{repository} cannot be written"
    try:
        repository.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
    except OSError as err:
        raise RepositoryError(f"{unwritable}: {err.strerror}.") from err
    with locked(folder):
        try:
            onnx_path(folder).parent.mkdir()
        except OSError as err:
            raise RepositoryError(f"{unwritable}: {err.strerror}.") from err
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def publish(folder: Path, repository: Path, name: str) -> Path:
    """The entry's path, now holding what was staged. Raises RepositoryError; the old entry then still stands.

    A folder that is not empty cannot be replaced in one step: the old one is renamed away, then the new one takes its
    place. A process killed between the two leaves the old entry where `sweep` finds it.
    """
    entry = repository / name
    old = _temporary(repository, "old", name)
    with locked(entry):
        try:
            if entry.exists():
                entry.rename(old)
            try:
                folder.rename(entry)
            except OSError:
                if old.exists():
                    old.rename(entry)
                raise
        except OSError as err:
            raise RepositoryError(f"{entry} cannot be replaced: {err.strerror}.") from err
        shutil.rmtree(old, ignore_errors=True)
    return entry


def withdraw(repository: Path, name: str) -> None:
    """Takes the entry out of the repository, at once and whole. Raises RepositoryError."""
    leaving = _temporary(repository, "staging", name)  # what `sweep` removes, should this be killed half-way
    try:
        (repository / name).rename(leaving)
    except OSError as err:
        raise RepositoryError(f"{repository / name} cannot be removed: {err.strerror}.") from err
    shutil.rmtree(leaving, ignore_errors=True)


def sweep(repository: Path) -> None:
    """Removes what killed runs left, and puts back an entry that one of them had renamed away."""
    if not repository.is_dir():
        return
    for path in repository.iterdir():
        match = _TEMPORARY.fullmatch(path.name)
        if match is None:
            continue
        with locked(path) as abandoned:
            if abandoned:
                _clear(path, repository / match["name"] if match["kind"] == "old" else None)


def _clear(path: Path, entry: Path | None) -> None:
    """Back into the place of the entry it was, if nothing else has taken that; else away."""
    if entry is not None and not entry.exists():
        with contextlib.suppress(OSError):  # another run was quicker
            path.rename(entry)
    else:
        shutil.rmtree(path, ignore_errors=True)
