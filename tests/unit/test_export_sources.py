"""What `--weights` may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from export.catalogue.registry import find
from export.catalogue.row import HubWeights, PackageWeights
from export.errors import WeightsError
from export.sources import Choice, FileWeights, RandomWeights, parse_choice, sources_of


@pytest.mark.parametrize("text", ["hub", "package", "random", "first", "file:a b/c.pth"])
def test_a_choice_is_written_as_it_is_read(text: str) -> None:
    assert parse_choice(text).argument == text


@pytest.mark.parametrize("text", ["", "file", "file:", "hub:", "random:0", "HUB", "a.pth"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="none of hub, package, file:PATH, random"):
        parse_choice(text)


def test_first_keeps_the_row_s_order() -> None:
    kinds = [type(source) for source in sources_of(find("mobilenet_v2"), Choice("first"))]
    assert kinds == [PackageWeights, HubWeights]


def test_one_kind_leaves_only_that_kind() -> None:
    assert [type(source) for source in sources_of(find("mobilenet_v2"), Choice("hub"))] == [HubWeights]
    assert sources_of(find("mobilenet_v2"), Choice("random")) == (RandomWeights(),)


def test_a_kind_the_row_lacks_is_a_sentence() -> None:
    with pytest.raises(WeightsError, match="resnet50 has no package weights"):
        sources_of(find("resnet50"), Choice("package"))


def test_a_file_is_known_by_its_digest(tmp_path: Path) -> None:
    file = tmp_path / "w.pth"
    file.write_bytes(b"abc")
    (source,) = sources_of(find("resnet50"), Choice("file", file))
    assert isinstance(source, FileWeights)
    assert source.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="there is no file"):
        sources_of(find("resnet50"), Choice("file", tmp_path / "none.pth"))
