"""Rules, dashboards, manifests and runbook name what exists, and everything that exists is used."""

from __future__ import annotations

import json
import re
from typing import get_args

import pytest

from service.settings import Settings, Tier
from tests.deploy.files import (
    DASHBOARDS,
    DEPLOY,
    ROOT,
    RUNBOOK,
    Document,
    alerts,
    dashboard_queries,
    documents,
    names_in,
    recorded,
    rules,
    samples_of_the_gateway,
)
from tests.doc_blocks import blocks_of


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("record") or rule["alert"])
def test_rules_are_made_of_metrics_that_the_gateway_has(rule: Document) -> None:
    assert names_in(rule["expr"]) - samples_of_the_gateway() - recorded() == set()


@pytest.mark.parametrize(("title", "query"), list(dashboard_queries()))
def test_panels_are_made_of_metrics_that_the_gateway_has(title: str, query: str) -> None:
    assert names_in(query) - samples_of_the_gateway() - recorded() == set(), title


def test_every_metric_of_the_gateway_is_looked_at_somewhere() -> None:
    queries = [query for _, query in dashboard_queries()] + [rule["expr"] for rule in rules()]
    looked_at = set().union(*map(names_in, queries))
    unseen = {name for name in samples_of_the_gateway() if not name.endswith(("_bucket", "_sum", "_count"))} - looked_at
    assert unseen <= {"vision_model_info"}, "new metrics belong on the dashboard"


def test_the_dashed_budgets_of_the_dashboard_are_the_default_tiers() -> None:
    drawn = set()
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            for target in panel.get("targets", []):
                if target["legendFormat"].startswith("budget "):
                    seconds = float(re.fullmatch(r"vector\((.+)\)", target["expr"])[1])  # type: ignore[index]
                    drawn.add((target["legendFormat"].removeprefix("budget "), seconds))
    assert drawn == {(tier, Settings().tier_budget_ms(tier) / 1e3) for tier in get_args(Tier)}


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_every_alert_is_in_the_runbook_and_tested(alert: Document) -> None:
    page = RUNBOOK.read_text(encoding="utf-8")
    assert f"### {alert['alert']}\n" in page
    file, _, anchor = alert["annotations"]["runbook"].partition("#")
    assert (ROOT / file, anchor) == (RUNBOOK, alert["alert"].lower())
    tests = documents(DEPLOY / "prometheus" / "tests" / "alerts.yml")[0]["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"] if case["alertname"] == alert["alert"]]
    assert any(case["exp_alerts"] for case in cases), "never seen to fire"
    assert any(not case["exp_alerts"] for case in cases), "never seen to keep quiet"


def test_by_the_runbook_triton_is_restarted_after_every_export() -> None:
    exports = re.compile(r"run --rm exporter (?!--list)|delete job exporter")
    found = {block: exports.search(block.text) for block in blocks_of(RUNBOOK)}
    behind = {str(block): block.text[export.end() :] for block, export in found.items() if export}
    assert len(behind) == 3
    assert [at for at, text in behind.items() if not re.search(r" restart (deployment/)?triton", text)] == []


def test_the_runbook_keeps_the_images_that_it_goes_back_to() -> None:
    page = RUNBOOK.read_text(encoding="utf-8")
    compose = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    for name, tag in re.findall(r"image: \$\{\w+_IMAGE:-(vision-\w+):([^}]+)\}", compose):
        kept = page.index(f"docker tag {name}:{tag} {name}:OLD")
        assert kept < page.index("docker compose build\ndocker compose run") < page.index(f"_IMAGE={name}:OLD")


def test_the_autoscaler_asks_for_metrics_that_the_gateway_has() -> None:
    adapter = documents(DEPLOY / "kubernetes" / "prometheus-adapter.yaml")[0]["rules"]["custom"]
    offered = {rule["name"]["as"] for rule in adapter if "name" in rule} | samples_of_the_gateway()
    scalers = documents(DEPLOY / "kubernetes" / "base" / "autoscaling.yaml")
    metrics = [metric for scaler in scalers for metric in scaler["spec"]["metrics"]]
    asked = {metric[metric["type"].lower()]["metric"]["name"] for metric in metrics}
    assert asked <= offered
    for rule in adapter:
        queries = rule["seriesQuery"] + " " + rule["metricsQuery"].replace("<<.Series>>", "")
        selected = re.findall(r'__name__=~"([^"]+)"', rule["seriesQuery"])
        named = names_in(queries) | {name for pattern in selected for name in pattern.split("|")}
        assert named <= samples_of_the_gateway()


def test_env_example_holds_every_setting_with_its_default_and_no_other() -> None:
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    written = dict(re.findall(r"^(?:# )?(VISION_[A-Z0-9_]+)=(.*)$", text, re.MULTILINE))
    settings = {f"VISION_{name.upper()}": str(field.default) for name, field in Settings.model_fields.items()}
    # What compose answers differently from a laptop.
    for name, answer in (("VISION_ENGINE", "triton"), ("VISION_ALLOW_ANONYMOUS", "true")):
        assert written.pop(name) == answer
        settings.pop(name)
    assert written == settings
    for name, field in Settings.model_fields.items():
        assert name in ("engine", "allow_anonymous") or f"# {field.description}\n# VISION_{name.upper()}=" in text


def test_env_example_starts_on_any_host_with_the_compose_that_the_runbook_names() -> None:
    assert "\nCOMPOSE_PROFILES=cpu\n" in (ROOT / ".env.example").read_text(encoding="utf-8")
    services = documents(ROOT / "docker-compose.yml")[0]["services"]
    # A file that may be missing: since 2.24. A service that may be, of depends_on: since 2.20.
    assert services["gateway"]["env_file"] == [{"path": ".env", "required": False}]
    assert "Compose 2.24 or later" in RUNBOOK.read_text(encoding="utf-8")


def test_every_variable_of_the_compose_file_is_in_env_example() -> None:
    compose = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    for name, default in re.findall(r"(?<!\$)\$\{([A-Z_]+):-([^}]*)\}", compose):
        assert f"\n# {name}={default}\n" in text, name
