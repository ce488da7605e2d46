"""docs/reliability.md: each command writes its own part, between the two comments of its name."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from benchmarks.device import RESULTS, circumstances, slug

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reliability.md"


def table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines
    )


def plain(value: Any) -> Any:
    """Dataclasses and whatever is a mapping as dictionaries with text as keys: `asdict` spoils a Counter."""
    if is_dataclass(value):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def publish(part: str, command: str, text: str, measured: Any, *, page: Path = PAGE) -> Path:
    """Replaces the part in the page, and writes what was measured as JSON; its path comes back."""
    about = circumstances()
    runtime = about.get("onnxruntime-gpu") or about.get("onnxruntime")
    versions = f"{about['device']}, Python {about['python']}, ONNX Runtime {runtime}"
    written = f"Written by `{command}` on {about['date']}: {versions}.\n\n{text}"
    before = page.read_text(encoding="utf-8")
    pattern = re.compile(rf"(<!-- {part}[^>]*-->\n).*?(\n<!-- /{part} -->)", re.DOTALL)
    after, count = pattern.subn(lambda found: f"{found[1]}\n{written}\n{found[2]}", before)
    if count != 1:
        raise ValueError(f"{page.name} has no part {part}")
    page.write_text(after, encoding="utf-8")
    path = RESULTS / f"{part}-{slug()}.json"
    path.write_text(json.dumps({"about": about, **plain(measured)}, indent=1) + "\n", encoding="utf-8")
    return path
