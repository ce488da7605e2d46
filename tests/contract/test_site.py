"""The documentation as a site: built strictly, complete, of nothing but its own files. And the repository's habits."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import mkdocs_repository
from tests.gateway_server import ROOT

BESIDE = [name for name in mkdocs_repository.PAGES if (ROOT / name).is_file()]


def build(config: Path, site: Path) -> subprocess.CompletedProcess[str]:
    mkdocs = Path(sys.executable).with_name("mkdocs")
    command: list[str | Path] = [
        mkdocs,
        "build",
        "--strict",
        "--config-file",
        config,
        "--site-dir",
        site,
    ]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=config.parent, timeout=120)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = build(ROOT / "mkdocs.yml", folder)
    assert built.returncode == 0, built.stderr
    return folder


def copy_of_the_pages(folder: Path) -> Path:
    """The repository as far as the site is made of it."""
    for name in ("docs", "deploy", "examples", "benchmarks/results"):
        shutil.copytree(ROOT / name, folder / name)
    for file in [*ROOT.glob("*.md"), ROOT / "mkdocs.yml", ROOT / "mkdocs_repository.py", ROOT / "LICENSE"]:
        shutil.copy(file, folder)
    return folder


def test_every_page_is_built_and_in_the_navigation(site: Path) -> None:
    pages = [path.stem for path in (ROOT / "docs").glob("*.md")]
    assert [page for page in pages if not (site / f"{page}.html").is_file()] == []
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = re.findall(r"^ {6}- .*: (\S+\.md)$", nav, re.MULTILINE)
    inside = [mkdocs_repository.PAGES[name] for name in BESIDE]
    assert sorted(listed) == sorted([*(f"{page}.md" for page in pages), *inside]), (
        "a page is missing, or gone, or twice"
    )


def test_a_page_that_is_left_out_or_a_link_that_breaks_stops_the_build(tmp_path: Path) -> None:
    copy = copy_of_the_pages(tmp_path / "copy")
    (copy / "docs" / "new.md").write_text("# New\n\n[there](api.md#nowhere), [gone](gone.md)\n", encoding="utf-8")
    built = build(copy / "mkdocs.yml", tmp_path / "site")
    assert built.returncode != 0
    for said in ('not included in the "nav"', "'gone.md'", "'#nowhere'"):
        assert said in built.stderr, built.stderr


def test_links_out_of_the_folder_of_pages_arrive(site: Path) -> None:
    operating = (site / "deploy" / "index.html").read_text(encoding="utf-8")
    assert 'href="../settings.html"' in operating
    assert 'href="kubernetes/prometheus-adapter.yaml"' in operating
    assert (site / "deploy" / "kubernetes" / "prometheus-adapter.yaml").is_file()
    assert 'src="images/console-try.png"' in (site / "index.html").read_text(encoding="utf-8")
    links = {
        (page, link)
        for page in site.rglob("*.html")
        for link in re.findall(r'(?:href|src)="?((?!http|#|data:|mailto)[^"#?\s>]+)', page.read_text(encoding="utf-8"))
        if page.name != "404.html"
    }
    assert len(links) > 100
    assert [(page.name, link) for page, link in links if not (page.parent / link).exists()] == []


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    loads = r'<(?:script|img|iframe|source)[^>]+src="?https?:[^"\s>]+|<link[^>]+href="?https?:[^"\s>]+'
    pages = [*site.rglob("*.html")]
    assert [
        (page.name, re.findall(loads, page.read_text(encoding="utf-8")))
        for page in pages
        if re.search(loads, page.read_text(encoding="utf-8"))
    ] == []
    assert all("url(http" not in sheet.read_text(encoding="utf-8") for sheet in site.rglob("*.css"))
    assert (site / "search" / "search_index.json").stat().st_size > 10_000


def test_the_commands_before_a_commit_are_those_of_make_check() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert [repository["repo"] for repository in hooks] == ["local"]
    entries = [hook["entry"].split() for repository in hooks for hook in repository["hooks"]]
    programs = [Path(words[0]).name for words in entries]
    assert [name for name in programs if not Path(sys.executable).with_name(name).exists()] == []
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    check = re.search(r"^check:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert check is not None
    assert re.findall(r"\$\(BIN\)/(\S+)", check[1]) == programs
