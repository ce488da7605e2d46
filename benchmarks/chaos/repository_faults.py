"""What lies in the repository is bad, half there, or changes all the time; or the disk is full."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.chaos.doctored import put_back
from benchmarks.chaos.fault import Broken, Fault, NotRun
from benchmarks.chaos.load import CLASSIFIER
from benchmarks.chaos.site import Site
from service.entry_files import onnx_path

_EXPORTED = "lenet5"
_LEFT_FREE_BYTES = 64 * 1024
_TIMES = 8


@contextmanager
def corrupted(site: Site) -> Iterator[None]:
    """The second half of the graph's file becomes zeros, written over it in place."""
    path = onnx_path(site.repository / CLASSIFIER)
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(bytes(size - size // 2))
    site.reload(CLASSIFIER)
    yield
    put_back(site.repository, CLASSIFIER)
    site.reload(CLASSIFIER)


@contextmanager
def half_written(site: Site) -> Iterator[None]:
    """As a copy that was interrupted leaves it: the config, and the first half of the graph."""
    os.truncate(onnx_path(site.repository / CLASSIFIER), onnx_path(site.repository / CLASSIFIER).stat().st_size // 2)
    site.reload(CLASSIFIER)
    yield
    put_back(site.repository, CLASSIFIER)
    site.reload(CLASSIFIER)


@contextmanager
def replaced(site: Site) -> Iterator[None]:
    """By itself, as often as there is time for: no request may notice."""
    until_s = time.monotonic() + 4.0
    for _ in range(_TIMES):
        put_back(site.repository, CLASSIFIER)
        site.reload(CLASSIFIER)
        if time.monotonic() > until_s:
            break
    yield


@contextmanager
def disk_full(site: Site) -> Iterator[None]:
    """A model is exported into the repository that is served, with 64 kB left."""
    if not site.on_tmpfs:
        raise NotRun("no file system of its own could be mounted (it takes root), and nobody's disk is filled for this")
    before = _names(site.repository)
    filler = site.repository / ".filler"
    with filler.open("wb") as file:
        free = os.statvfs(site.repository)
        file.write(bytes(free.f_bavail * free.f_frsize - _LEFT_FREE_BYTES))
    try:
        ended = _export(site.repository)
        if ended == 0:
            raise Broken("the export says that all is well on a full disk")
        if left := _names(site.repository) - before - {filler.name}:
            raise Broken(f"a failed export left {', '.join(sorted(left))}")
        yield
    finally:
        filler.unlink()


def _export(repository: Path) -> int:
    command = [str(Path(sys.executable).with_name("vision-export")), _EXPORTED, "--weights", "random"]
    return subprocess.run([*command, "--repository", str(repository)], capture_output=True, check=False).returncode


def _names(repository: Path) -> set[str]:
    return {entry.name for entry in repository.iterdir()}


FAULTS = (
    Fault("an entry is corrupted in place", corrupted),
    Fault("an entry is half written", half_written),
    Fault("an entry is replaced again and again", replaced, held_s=1.0),
    Fault(
        "the disk is full during an export",
        disk_full,
        held_s=1.0,
        not_on={"triton": "the exporter writes the same folder, and does not know which engine reads it"},
    ),
)
