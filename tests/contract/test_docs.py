"""What the documentation says is what the code does."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from starlette.routing import Route
from typer.testing import CliRunner

from service import client, routes_console
from service.admin import create_admin_app
from service.app import create_app
from service.cli import commands
from service.cli.exit_codes import ExitCode
from service.client import Client
from service.engines.fake import FakeEngine
from service.routing import Reason
from service.settings import Settings
from tests.doc_blocks import PAGES
from tests.gateway_server import ROOT
from tests.write_docs import DOCS, TABLES, with_table

README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", TABLES)
def test_generated_tables_are_up_to_date(name: str) -> None:
    file, table = TABLES[name]
    page = (DOCS / file).read_text(encoding="utf-8")
    assert with_table(page, name, table()) == page, "run `python -m tests.write_docs`"


def test_how_far_below_the_best_fixed_model_is_told_of_the_real_server_too() -> None:
    page = (DOCS / "routing-benchmark.md").read_text(encoding="utf-8")
    simulated, real = re.findall(r"from ([\d.]+) points below", page)
    (said,) = re.findall(r"on the real server by up to ([\d.]+) points .*?simulated by up\s+to ([\d.]+) points", page)
    assert said == (real, simulated)


def test_every_route_and_every_reason_is_in_the_api_pages() -> None:
    page = "".join((DOCS / name).read_text(encoding="utf-8") for name in ("api.md", "open-inference-protocol.md"))
    paths = create_app(Settings(), FakeEngine([])).openapi()["paths"]
    assert [path for path in paths if path not in page] == []
    # Each by its method as well, but for /v2's versioned addresses, of which the page says that they are the same.
    named = [f"{method.upper()} {path}" for path, methods in paths.items() for method in methods]
    assert [route for route in named if f"`{route}`" not in page and "/versions/" not in route] == []
    assert [reason for reason in Reason.__args__ if f"`{reason}`" not in page] == []  # type: ignore[attr-defined]


def test_every_route_that_is_no_api_is_in_its_page() -> None:
    pages = "".join((DOCS / name).read_text(encoding="utf-8") for name in ("console.md", "metrics.md", "api.md"))
    app = create_app(Settings(), FakeEngine([]))
    paths = {route.path for route in [*app.routes, *routes_console.router.routes] if isinstance(route, Route)}
    paths |= set(create_admin_app(app.state.gateway).openapi()["paths"])
    of_libraries = {"/docs/oauth2-redirect"}
    assert {"/docs", "/metrics", "/frontier"} <= paths
    beginnings = [path.partition("{")[0] for path in sorted(paths - of_libraries)]
    assert [path for path in beginnings if f"`{path}" not in pages and f"GET {path}" not in pages] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!http)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_make_targets_named_in_the_docs_exist() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    named = set(re.findall(r"(?:`|^ *)make ([a-z][a-z-]+)", text, re.MULTILINE))
    assert {"serve", "test"} <= named
    assert [target for target in sorted(named) if not re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_nobody_is_told_to_install_from_an_index_where_we_are_not(page: Path) -> None:
    assert not re.search(r"pip install\b[^`\n]*vision-gateway", page.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "target", re.findall(r"^([a-z]+):[^\n]*\n\t[^\n]* -m (?:benchmarks|tests|pytest)", MAKEFILE, re.MULTILINE)
)
def test_what_make_runs_of_tests_and_benchmarks_finds_their_packages(target: str) -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("no make here")
    done = subprocess.run([make, "--dry-run", "--always-make", target], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    installs, runs = done.stdout.index("-e '.[dev]'"), re.search(r" -m (benchmarks|tests|pytest)", done.stdout)
    assert runs is not None
    assert installs < runs.start()


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 110


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
