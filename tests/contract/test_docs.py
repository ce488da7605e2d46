"""What the documentation says is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from service.app import create_app
from service.engines.fake import FakeEngine
from service.routing import Reason
from service.settings import Settings
from tests.gateway_server import ROOT
from tests.write_docs import DOCS, TABLES, with_table

README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", TABLES)
def test_generated_tables_are_up_to_date(name: str) -> None:
    file, table = TABLES[name]
    page = (DOCS / file).read_text(encoding="utf-8")
    assert with_table(page, name, table()) == page, "run `python -m tests.write_docs`"


def test_every_route_and_every_reason_is_in_the_api_pages() -> None:
    page = "".join((DOCS / name).read_text(encoding="utf-8") for name in ("api.md", "open-inference-protocol.md"))
    paths = create_app(Settings(), FakeEngine([])).openapi()["paths"]
    assert [path for path in paths if path not in page] == []
    assert [reason for reason in Reason.__args__ if f"`{reason}`" not in page] == []  # type: ignore[attr-defined]


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted(DOCS.glob("*.md"))], ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!http)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_make_targets_named_in_the_docs_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    text = README + "".join(page.read_text(encoding="utf-8") for page in DOCS.glob("*.md"))
    named = set(re.findall(r"(?:`|^ *)make ([a-z][a-z-]+)", text, re.MULTILINE))
    assert {"serve", "test"} <= named
    assert [target for target in sorted(named) if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []


def test_the_readme_fits_one_screen() -> None:
    assert len(README.splitlines()) <= 65
