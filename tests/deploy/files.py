"""What lies in deploy/ and in the root of the repository for operators, read as an operator's tools read it."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.metrics import Metrics

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
RULE_FILES = (PROMETHEUS / "rules.yml", PROMETHEUS / "alerts.yml")
RUNBOOK = DEPLOY / "README.md"

Document = dict[str, Any]


def installed(program: str, package: str) -> str:
    """Path of the program, beside this Python or on PATH; skips the test, naming the package, where it is absent."""
    beside = Path(sys.executable).with_name(program)
    found = str(beside) if beside.exists() else shutil.which(program)
    if found is None:
        pytest.skip(f"no {program} here: it comes with {package}")
    return found


def documents(path: Path) -> list[Document]:
    """Every YAML document of the file."""
    return [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document]


def rules() -> list[Document]:
    """Every rule of every group, recording or alert."""
    return [rule for file in RULE_FILES for group in documents(file)[0]["groups"] for rule in group["rules"]]


def alerts() -> list[Document]:
    return [rule for rule in rules() if "alert" in rule]


def recorded() -> set[str]:
    return {rule["record"] for rule in rules() if "record" in rule}


def dashboard_queries() -> Iterator[tuple[str, str]]:
    """(panel's title, PromQL) of every query of every dashboard, variables not yet filled in."""
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            for target in panel.get("targets", []):
                yield panel["title"], target["expr"]


def names_in(promql: str) -> set[str]:
    """Names of ours in a query: metrics (vision_…) and recorded series (…:vision_…:…); labels' values do not count."""
    bare = re.sub(r'"[^"]*"', '""', promql)
    return {name for name in re.findall(r"[a-zA-Z_:][a-zA-Z0-9_:]*", bare) if "vision_" in name}


def samples_of_the_gateway() -> set[str]:
    """Every sample name that a gateway may expose, asked from the registry itself."""
    names = set()
    for metric in Metrics().registry.collect():
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(metric.type, ("",))
        names |= {metric.name + suffix for suffix in suffixes}
    return names
