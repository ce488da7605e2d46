"""What the documentation says is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service import client
from service.app import create_app
from service.cli import commands
from service.cli.exit_codes import ExitCode
from service.client import Client
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


def test_the_page_of_the_command_line_lists_the_commands_and_exit_codes_there_are() -> None:
    page = (DOCS / "cli.md").read_text(encoding="utf-8")
    shown = CliRunner().invoke(commands.app, ["--help"], prog_name="vision", env={"COLUMNS": "100"}).output
    # A command stands at the beginning of a line of the last box.
    offered = re.findall(r"^│ ([a-z]\S*)", shown[shown.index("Commands") :], re.MULTILINE)
    assert {"serve", "classify"} <= set(offered)
    assert sorted(re.findall(r"^\| `vision (\S+)` \|", page, re.MULTILINE)) == sorted(offered)
    assert sorted(int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)) == sorted(ExitCode)


def test_the_page_of_the_client_lists_every_call_and_every_error() -> None:
    page = (DOCS / "client.md").read_text(encoding="utf-8")
    calls = [name for name in vars(Client) if not name.startswith("_") and name != "close"]
    assert {"classify", "segment"} <= set(calls)
    assert [name for name in calls if f"`{name}(" not in page] == []
    errors = [name for name, value in vars(client).items() if isinstance(value, type) and issubclass(value, Exception)]
    assert {"NotReachable", "ProblemError"} <= set(errors)
    assert [name for name in errors if f"`{name}`" not in page] == []
