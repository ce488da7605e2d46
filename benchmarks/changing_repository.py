"""A repository whose entries are links to the real ones: they come, go, and are replaced by broken ones in one step."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.gateway_server import REPOSITORY


@contextmanager
def repository_of_links(names: Sequence[str]) -> Iterator[Path]:
    """A repository whose entries are links, so that they can be replaced in one step."""
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            link(Path(folder), name)
        yield Path(folder)


def link(repository: Path, name: str) -> None:
    """The good entry is there from now on, whatever was there before."""
    new = repository / f".new-{name}"
    new.symlink_to(REPOSITORY / name, target_is_directory=True)
    take_away(repository, name)
    new.rename(repository / name)


def take_away(repository: Path, name: str) -> None:
    entry = repository / name
    if entry.is_symlink():
        entry.unlink()
    elif entry.exists():
        gone = entry.rename(repository / f".gone-{name}")
        shutil.rmtree(gone)


def corrupt(repository: Path, name: str) -> None:
    """The same card with an ONNX file of which the second half is zeros."""
    broken = repository / f".broken-{name}"
    shutil.copytree(REPOSITORY / name, broken)
    path = broken / "1" / "model.onnx"
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
    take_away(repository, name)
    broken.rename(repository / name)
