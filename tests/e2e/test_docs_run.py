"""What the documentation shows runs as it stands, against a real gateway; what cannot is in one table, with its reason.

Shell and Python blocks run in a copy of examples/, where 127.0.0.1:8080 is the test's gateway; a JSON block behind a
command is what the command answers, key by key. The other languages are parsed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.doc_blocks import ALL_BLOCKS, PAGES, Block, indented_blocks
from tests.gateway_server import ROOT, GatewayServer

LONG = "minutes; changes the installation or the repository"
DOCKER = "wants a Docker Engine and the official images; the files are held against their schemas by tests/deploy"
CLUSTER = "wants a cluster; tests/deploy renders the overlays and holds every object against Kubernetes' schemas"
DATA = "wants the labelled data sets; tests/unit/test_evaluation.py scores small ones"
GPU = "wants an NVIDIA GPU"
SERVES = "serves until it is interrupted; the blocks here talk to such a server"
# Page and beginning of the first line of a block not run here → why, or the path of the test that does the same.
NOT_RUN: dict[tuple[str, str], str] = {
    ("README.md", "make serve"): SERVES,
    ("docs/start.md", "make serve"): SERVES,
    ("CONTRIBUTING.md", "make test"): LONG,
    ("docs/adding-a-model.md", "python -m tests.write_catalogue"): "tests/parity/test_adding_a_model.py",
    ("docs/adding-a-model.md", "vision-export --import flowers.onnx"): "tests/parity/test_adding_a_model.py",
    ("docs/exporting.md", "vision-export --all --weights random --discard --runs docs/catalogue-run.json"): LONG,
    (
        "docs/quantisation.md",
        "vision-export efficientnet_lite0 --precision int8",
    ): "tests/parity/test_quantisation_parity.py",
    ("docs/quantisation.md", "vision-export ssdlite_efficientnet_lite0_256 --precision int8"): LONG,
    ("docs/starter-heads.md", ".venv/bin/python -m pip install -c constraints.txt -e '.[eval]'"): DATA,
    ("docs/tensorrt.md", "vision-export efficientnet_lite0 --precision fp16"): "tests/unit/test_fp16.py",
    ("docs/tensorrt.md", ".venv/bin/python -m pip install -c constraints.txt -e '.[export,gpu]'"): GPU,
    (
        "docs/tracing.md",
        ".venv/bin/python -m pip install -c constraints.txt -e '.[otel]'",
    ): "tests/contract/test_tracing.py",
    ("docs/triton.md", "make triton-install"): "tests/contract/test_triton_engine.py",
    ("docs/benchmarks.md", "make bench"): LONG,
    ("docs/fleet.md", "VISION_MEMORY_BUDGET_BYTES=2000000000 vision serve"): "tests/e2e/test_memory_budget.py",
    ("docs/fleet.md", "vision verify model_repository"): "tests/contract/test_integrity.py",
    ("deploy/README.md", "cp .env.example .env"): DOCKER,
    ("deploy/README.md", "docker compose run --rm exporter --list"): DOCKER,
    ("deploy/README.md", "docker compose exec prometheus"): DOCKER,
    ("deploy/README.md", "docker run --rm -v vision-gateway_models:/models"): DOCKER,
    ("deploy/README.md", "docker compose run --rm --no-deps -T gateway keys new"): DOCKER,
    ("deploy/README.md", "unload="): "tests/deploy/test_live.py",
    ("deploy/README.md", "kubectl create namespace"): CLUSTER,
    ("deploy/README.md", "kubectl -n vision delete job exporter"): CLUSTER,
    ("deploy/README.md", "kubectl kustomize deploy/kubernetes/overlays/gpu"): CLUSTER,
}
LANGUAGES: dict[str, Callable[[str], object]] = {
    "json": json.loads,
    "yaml": lambda text: list(yaml.safe_load_all(text)),
    "toml": tomllib.loads,
    "text": str,
}


def exceptions(block: Block) -> list[tuple[str, str]]:
    return [(page, line) for page, line in NOT_RUN if page == block.page and block.first_line.startswith(line)]


RUN = [block for block in ALL_BLOCKS if block.language in ("sh", "python") and not exceptions(block)]
PARSED = [block for block in ALL_BLOCKS if block.language not in ("sh", "python")]


@pytest.fixture(scope="module")
def reader(default_gateway: GatewayServer, few_models: str, tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return Reader(tmp_path_factory.mktemp("reader"), default_gateway, few_models)


class Reader:
    """Somebody who follows the documentation in a folder that has examples/, with the project installed."""

    def __init__(self, folder: Path, gateway: GatewayServer, repository: str) -> None:
        self._folder, self._gateway = folder, gateway
        shutil.copytree(ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("__pycache__"))
        # curl fails where the server refuses, and shows what it said.
        (folder / ".curlrc").write_text("silent\nshow-error\nfail-with-body\n", encoding="utf-8")
        clean = {name: value for name, value in os.environ.items() if not name.startswith("VISION_")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        here = {"PATH": path, "CURL_HOME": str(folder), "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
        self._environment = {**clean, **here, "VISION_REPOSITORY": repository}

    def types(self, block: Block) -> subprocess.CompletedProcess[str]:
        here = block.text.replace("127.0.0.1:8080", f"127.0.0.1:{self._gateway.port}")
        here = here.replace("127.0.0.1:8081", f"127.0.0.1:{self._gateway.admin_port}")
        command = (
            [sys.executable, "-c", here] if block.language == "python" else ["bash", "-euo", "pipefail", "-c", here]
        )
        # The examples have the documented address in their code; the commands of other pages say it, or run without.
        server = {"VISION_SERVER": self._gateway.url} if block.page == "examples/README.md" else {}
        return subprocess.run(
            command, env=self._environment | server, cwd=self._folder, capture_output=True, text=True, timeout=120
        )


def shown_answer(block: Block) -> dict[str, Any] | None:
    """The JSON that the page shows behind the block."""
    behind = [other for other in PARSED if other.follows == block and other.language == "json"]
    return json.loads(behind[0].text) if behind else None


def missing(shown: object, answer: object, at: str = "") -> list[str]:
    """Where the answer lacks a key that is shown. Lists are compared as far as they are shown."""
    if isinstance(shown, dict) and isinstance(answer, dict):
        inside = [miss for key in shown if key in answer for miss in missing(shown[key], answer[key], f"{at}.{key}")]
        return [f"{at}.{key}" for key in shown if key not in answer] + inside
    if isinstance(shown, list) and isinstance(answer, list):
        if len(answer) < len(shown):
            return [f"{at}[{len(answer)}]"]
        return [miss for index, part in enumerate(shown) for miss in missing(part, answer[index], f"{at}[{index}]")]
    return [] if isinstance(shown, dict | list) is isinstance(answer, dict | list) else [at]


@pytest.mark.parametrize("block", RUN, ids=str)
def test_the_block_runs(reader: Reader, block: Block) -> None:
    shown = shown_answer(block)
    done = reader.types(block)
    # 22 is curl's for a refusal, which a page may show on purpose.
    refusal = shown is not None and "type" in shown
    assert done.returncode == (22 if refusal else 0), done.stderr + done.stdout
    # The starter heads find people: an example that finds none shows nothing.
    assert not re.search(r"\bdetect[ ?(]|ask\.sh", block.text) or "person" in done.stdout, done.stdout
    if shown is not None:
        answer = json.loads(done.stdout)
        assert missing(shown, answer) == []
        assert not refusal or (shown["type"], shown["status"]) == (answer["type"], answer["status"])


@pytest.mark.parametrize("block", PARSED, ids=str)
def test_every_other_block_can_be_read(block: Block) -> None:
    assert block.language in LANGUAGES, f"{block}: no test knows ```{block.language}"
    LANGUAGES[block.language](block.text)


def test_what_is_not_run_is_there_and_says_why() -> None:
    there = {key for block in ALL_BLOCKS for key in exceptions(block)}
    assert [key for key in NOT_RUN if key not in there] == []
    elsewhere = [reason for reason in NOT_RUN.values() if reason.startswith("tests/")]
    assert [path for path in elsewhere if not (ROOT / path).is_file()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_code_hides_in_indentation(page: Path) -> None:
    assert indented_blocks(page) == [], "fence it, so that it is run"


def test_an_answer_that_lacks_what_is_shown_is_noticed() -> None:
    assert missing({"a": {"b": 1}, "c": [{"d": 1}]}, {"a": {}, "c": [{}]}) == [".a.b", ".c[0].d"]
    assert missing([1, 2], [1]) == ["[1]"]
    assert missing({"a": {"b": 1}}, {"a": 3}) == [".a"]
    assert missing({"a": 1, "c": []}, {"a": 2, "b": 3, "c": [4]}) == []
