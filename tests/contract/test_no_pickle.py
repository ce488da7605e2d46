"""Nothing in the tree can turn a file into code: read from the source, so that it holds for branches no test runs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ("service", "export", "evaluation", "deploy", "benchmarks")
FILES = sorted(path for folder in SHIPPED for path in (ROOT / folder).rglob("*.py"))

# Modules whose loading runs what the file says.
_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"}
# The exception that torch raises for a file that is none; naming it loads nothing.
_HARMLESS = {"pickle.UnpicklingError"}
_CALLS = {"eval", "exec", "compile", "__import__"}


def dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Name):
        return node.id
    return f"{dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else ""


def complaints(source: str) -> Iterator[str]:
    """Every use, as `line: what`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in _MODULES:
            yield f"{node.lineno}: from {node.module}"
        elif isinstance(node, ast.Attribute) and dotted(node.value) in _MODULES and dotted(node) not in _HARMLESS:
            yield f"{node.lineno}: {dotted(node)}"
        elif isinstance(node, ast.Call):
            yield from _call(node)


def _call(node: ast.Call) -> Iterator[str]:
    name = dotted(node.func)
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
    if name in _CALLS:
        yield f"{node.lineno}: {name}"
    if name == "torch.load" and given.get("weights_only") != "True":
        yield f"{node.lineno}: torch.load without weights_only=True"
    if name.endswith("load_state_dict_from_url") and given.get("weights_only") != "True":
        yield f"{node.lineno}: {name} without weights_only=True"
    if given.get("allow_pickle", "False") != "False":
        yield f"{node.lineno}: {name} with allow_pickle"
    if name in ("yaml.load", "yaml.unsafe_load", "yaml.full_load", "np.loads"):
        yield f"{node.lineno}: {name}"
    if given.get("trust_remote_code", "False") != "False":
        yield f"{node.lineno}: {name} with trust_remote_code"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_loads_what_would_run(path: Path) -> None:
    assert list(complaints(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "bad",
    [
        "from pickle import load",
        "import pickle\npickle.load(f)",
        "import pickle\npickle.Unpickler(f)",
        "torch.load(f)",
        "torch.load(f, weights_only=False)",
        "np.load(f, allow_pickle=True)",
        "yaml.load(f)",
        "eval(text)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
    ],
)
def test_the_check_itself_sees(bad: str) -> None:
    assert list(complaints(bad))


def test_torch_load_is_really_used_somewhere_and_so_really_checked() -> None:
    assert any("torch.load(" in path.read_text(encoding="utf-8") for path in FILES)
