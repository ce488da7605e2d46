"""What a gateway needs to run: neither torch nor the export stage; and which module may know which."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted((ROOT / "service").rglob("*.py"))
FORBIDDEN = ("torch", "torchvision", "timm", "onnx", "onnxscript", "export", "skimage", "sklearn", "scipy")


@pytest.mark.parametrize("module", ["service.app", "service.cli", "service.engines.triton"])
def test_a_gateway_starts_without_torch_onnx_or_the_export_stage(module: str) -> None:
    program = f"import {module}, sys; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    fresh = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = fresh.stdout.split()
    assert "service" in loaded
    assert not set(loaded) & set(FORBIDDEN)


def imported(path: Path) -> set[str]:
    """Every module that the file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module or ""}
    return found


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_module_imports_what_the_gateway_must_do_without(path: Path) -> None:
    assert not {name.split(".")[0] for name in imported(path)} & set(FORBIDDEN)


def test_the_package_root_holds_nothing_to_import() -> None:
    assert (ROOT / "service" / "__init__.py").read_text(encoding="utf-8").strip() == ""
    modules = {name_of(path) for path in MODULES}
    for path in MODULES:
        for name in imported(path):
            if name.startswith("service.") and name.count(".") == 1:
                assert name in modules, f"{name_of(path)} imports {name}, which is no module"


def test_imports_go_round_in_no_circle() -> None:
    modules = {name_of(path): imported(path) for path in MODULES}
    graph = {name: {other for other in found if other in modules and other != name} for name, found in modules.items()}
    while leaves := {name for name, needed in graph.items() if not needed & graph.keys()}:
        for name in leaves:
            del graph[name]
    assert not graph, f"these need one another: {sorted(graph)}"
