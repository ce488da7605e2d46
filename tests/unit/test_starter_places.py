"""Where the training pictures are is said, never guessed."""

from __future__ import annotations

from pathlib import Path

import pytest

from export.starter.places import pictures_folder
from tests.doc_blocks import PAGES


def test_the_folder_is_the_one_given_or_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other").mkdir()
    monkeypatch.setenv("VISION_DATA", str(tmp_path))
    assert pictures_folder() == tmp_path
    assert pictures_folder(tmp_path / "other") == tmp_path / "other"


@pytest.mark.parametrize("named", [None, "", "/nowhere"])
def test_without_one_a_sentence_says_what_to_give(named: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VISION_DATA", raising=False)
    if named is not None:
        monkeypatch.setenv("VISION_DATA", named)
    with pytest.raises(FileNotFoundError, match=r"give --data DIR or set VISION_DATA, .* pennfudan/, coco128/"):
        pictures_folder()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_names_a_folder_beside_the_repository(page: Path) -> None:
    assert "../shared" not in page.read_text(encoding="utf-8")
