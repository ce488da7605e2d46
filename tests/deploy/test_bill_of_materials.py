"""What is shipped can be listed, and an audit that could look nothing up does not call it clean."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.files import DEPLOY, ROOT, installed

# Scripts, not a package: they find one another by the folder they lie in.
sys.path.insert(0, str(DEPLOY / "image"))
verdict = importlib.import_module("audit").verdict
pinned = importlib.import_module("pinned").pinned
packages = importlib.import_module("requirements").packages

PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_the_gateway_s_list_holds_what_it_needs_and_what_that_needs_and_no_torch() -> None:
    names = [line.split("==")[0] for line in pinned(packages(PYPROJECT, "gateway"))]
    assert names == sorted(set(names))
    assert {"fastapi", "starlette", "anyio", "onnxruntime", "pillow", "grpcio"} <= set(names)
    assert not {"torch", "onnxruntime-gpu", "pytest", "onnx"} & set(names)


def test_the_bill_of_materials_is_valid_complete_and_the_same_twice(tmp_path: Path) -> None:
    program = installed("cyclonedx-py", "the dev extra (cyclonedx-bom)")
    lines = pinned(packages(PYPROJECT, "gateway"))
    (tmp_path / "gateway.txt").write_text("\n".join(lines) + "\n")
    made = []
    for name in ("one", "two"):
        command = [program, "requirements", "gateway.txt", "--pyproject", str(ROOT / "pyproject.toml")]
        options = ["--output-reproducible", "--validate", "--output-file", name]
        subprocess.run([*command, *options], cwd=tmp_path, check=True, capture_output=True)
        made.append((tmp_path / name).read_bytes())
    assert made[0] == made[1]
    document = json.loads(made[0])
    assert document["bomFormat"] == "CycloneDX"
    assert document["metadata"]["component"]["name"] == "vision-gateway"
    assert sorted(f"{part['name']}=={part['version']}" for part in document["components"]) == sorted(lines)


CLEAN = {"name": "a", "version": "1", "vulns": []}
BAD = {"name": "b", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}
SKIPPED = {"name": "c", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("found", "said", "status"),
    [
        (None, "NOT audited", 0),
        ([SKIPPED], "NOT audited", 0),
        ([CLEAN, SKIPPED], "1 of 2 packages looked up, 0 known", 0),
        ([CLEAN, BAD], "b 2: CVE-1, mended in 3", 1),
    ],
)
def test_nothing_looked_up_is_not_called_clean(found: list[dict[str, Any]] | None, said: str, status: int) -> None:
    text, exit_status = verdict({"dependencies": found} if found is not None else None)
    assert said in text
    assert exit_status == status
