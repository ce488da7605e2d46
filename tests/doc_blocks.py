"""The fenced blocks of README.md and the pages, as they stand there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.gateway_server import ROOT

PAGES = (
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "deploy" / "README.md",
    ROOT / "examples" / "README.md",
    ROOT / "model_repository" / "README.md",
)
FENCE = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """`follows` is the block before it on its page, if nothing but prose of a line or two stands between them."""

    page: str
    line: int
    language: str
    text: str
    follows: Block | None = None

    @property
    def first_line(self) -> str:
        return self.text.splitlines()[0]

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: Path) -> Iterator[Block]:
    """Every fenced block of a page, from the top."""
    text = page.read_text(encoding="utf-8")
    before, end = None, 0
    for found in FENCE.finditer(text):
        near = before if text.count("\n", end, found.start()) <= 4 else None
        line = text.count("\n", 0, found.start()) + 1
        before = Block(str(page.relative_to(ROOT)), line, found[1], found[2], near)
        end = found.end()
        yield before


def indented_blocks(page: Path) -> list[int]:
    """The lines at which a block begins that is code by its indentation alone."""
    lines = FENCE.sub(lambda found: "\n" * found[0].count("\n"), page.read_text(encoding="utf-8")).split("\n")
    return [
        number
        for number, (before, line) in enumerate(zip(["", *lines], lines, strict=False), 1)
        if line.startswith("    ") and not before.strip()
    ]


ALL_BLOCKS = [block for page in PAGES for block in blocks_of(page)]
