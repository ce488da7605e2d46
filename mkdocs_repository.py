"""MkDocs' hook: pages and files outside docs/ belong to the site, under the paths that they have in the repository.

Pages link each other as files of the repository do, so that the links work where the repository is browsed. Here each
is resolved in the repository and pointed at the site's copy. A link to what is no page takes the file along; one to a
folder keeps its words only.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent
# Where a page of the repository lies in the site; those of docs/ lie at its root.
PAGES = {
    name: name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "deploy/README.md", "examples/README.md")
}
PAGES["README.md"] = "index.md"
LINK = re.compile(r"(!?)\[((?:[^\[\]]|!\[[^\]]*\]\([^)]*\))*)\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The pages outside docs/ join those inside."""
    for source, page in PAGES.items():
        if (ROOT / source).is_file():
            files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page with its links pointed at the site; fenced blocks stay as they are."""
    here = page.file.src_uri
    parts = re.split(r"(^```.*?^```$)", markdown, flags=re.MULTILINE | re.DOTALL)
    for index in range(0, len(parts), 2):
        parts[index] = LINK.sub(lambda link: _pointed(link, here, config, files), parts[index])
    return "".join(parts)


def _pointed(link: re.Match[str], here: str, config: MkDocsConfig, files: Files) -> str:
    mark, words, target, anchor = link.groups()
    path = posixpath.normpath(posixpath.join(posixpath.dirname(_in_repository(here)), target))
    if (ROOT / path).is_dir():
        return words
    there = _in_site(path)
    if files.get_file_from_path(there) is None and (ROOT / path).is_file():
        files.append(File.generated(config, there, abs_src_path=str(ROOT / path)))
    return f"{mark}[{words}]({posixpath.relpath(there, posixpath.dirname(here) or '.')}{anchor or ''})"


def _in_repository(page: str) -> str:
    sources = {there: source for source, there in PAGES.items()}
    return sources.get(page, f"docs/{page}")


def _in_site(path: str) -> str:
    return PAGES.get(path, path.removeprefix("docs/"))
