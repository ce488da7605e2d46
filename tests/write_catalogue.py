"""What is written from the registry: `python -m tests.write_catalogue`. A test says when it has to be run."""

from __future__ import annotations

from pathlib import Path

from export.catalogue.registry import CATALOGUE
from export.catalogue_page import page
from export.run_table import markdown, read_runs

ROOT = Path(__file__).resolve().parents[1]
NAMES_FILE = ROOT / "service" / "catalogue_names.txt"
PAGE_FILE = ROOT / "docs" / "catalogue.md"
RUNS_FILE = ROOT / "docs" / "catalogue-run.json"


def names_text() -> str:
    """Every name, a line each: the gateway's 404 tells with it what could be exported."""
    return "".join(f"{name}\n" for name in CATALOGUE)


def page_text() -> str:
    return page(CATALOGUE.values(), read_runs(RUNS_FILE))


def main() -> None:
    NAMES_FILE.write_text(names_text(), encoding="utf-8")
    PAGE_FILE.write_text(page_text(), encoding="utf-8")
    RUNS_FILE.with_suffix(".md").write_text(markdown(CATALOGUE.values(), read_runs(RUNS_FILE)), encoding="utf-8")


if __name__ == "__main__":
    main()
