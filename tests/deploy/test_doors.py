"""Keys, ports and probes say the same in the settings, the manifests, the compose file and the runbook."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

import pytest
import yaml

from service.settings import Settings
from tests.deploy.files import DEPLOY, PROMETHEUS, ROOT, RUNBOOK, Document, documents

BASE = DEPLOY / "kubernetes" / "base"


def env(path: str) -> dict[str, str]:
    lines = (BASE / path).read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def gateway() -> Document:
    """The pod of the gateway: metadata and spec."""
    (found,) = (o for o in documents(BASE / "gateway.yaml") if o["kind"] == "Deployment")
    template: Document = found["spec"]["template"]
    return template


def container() -> Document:
    (only,) = gateway()["spec"]["containers"]
    found: Document = only
    return found


def ports() -> dict[str, int]:
    return {port["name"]: port["containerPort"] for port in container()["ports"]}


def compose_gateway() -> Document:
    found: Document = documents(ROOT / "docker-compose.yml")[0]["services"]["gateway"]
    return found


def test_the_manifests_name_the_ports_that_the_gateway_listens_on() -> None:
    settings = env("gateway.env")
    assert ports() == {"http": Settings().port, "admin": int(settings["VISION_ADMIN_PORT"])}
    assert settings["VISION_ADMIN_HOST"] == "0.0.0.0"


def test_a_pod_has_as_many_workers_as_it_has_asked_for_cores() -> None:
    (workers,) = (one for one in container()["env"] if one["name"] == "VISION_WORKERS")
    assert workers["valueFrom"] == {"resourceFieldRef": {"resource": "requests.cpu"}}
    assert "VISION_WORKERS" not in env("gateway.env"), "two answers to one question"
    assert Settings(workers=int(container()["resources"]["requests"]["cpu"])).workers >= 1
    assert "cpu" not in container()["resources"]["limits"]


@pytest.mark.parametrize(
    ("probe", "path"),
    [("startupProbe", "/health/live"), ("livenessProbe", "/health/live"), ("readinessProbe", "/health/ready")],
)
def test_probes_ask_what_needs_no_key_on_the_public_port(probe: str, path: str) -> None:
    assert container()[probe]["httpGet"] == {"path": path, "port": "http"}


def test_no_service_leads_to_the_admin_port_and_only_prometheus_may_reach_it() -> None:
    (service,) = (o for o in documents(BASE / "gateway.yaml") if o["kind"] == "Service")
    assert [port["targetPort"] for port in service["spec"]["ports"]] == ["http"]
    (policy,) = (o for o in documents(BASE / "network.yaml") if o["metadata"]["name"] == "gateway")
    to_admin = [rule for rule in policy["spec"]["ingress"] if {"port": "admin", "protocol": "TCP"} in rule["ports"]]
    labels = {"namespaceSelector": {"matchLabels": {"vision-gateway/monitoring": "true"}}}
    assert [rule["from"] for rule in to_admin] == [[labels]]


def test_the_rule_for_traces_only_has_to_be_uncommented() -> None:
    text = (BASE / "network.yaml").read_text(encoding="utf-8")
    allowed = [o for o in yaml.safe_load_all(re.sub(r"^    # ([ -] )", r"    \1", text, flags=re.MULTILINE)) if o]
    (policy,) = (o for o in allowed if o["metadata"]["name"] == "gateway")
    assert [{"port": 4318, "protocol": "TCP"}] in [rule["ports"] for rule in policy["spec"]["egress"]]


def test_compose_publishes_the_public_port_alone_and_prometheus_asks_the_admin_port() -> None:
    service = compose_gateway()
    assert [port.rsplit(":", 1)[1] for port in service["ports"]] == [service["environment"]["VISION_PORT"]]
    (job,) = (j for j in documents(PROMETHEUS / "prometheus.yml")[0]["scrape_configs"] if j["job_name"] == "gateway")
    assert {found["port"] for found in job["dns_sd_configs"]} == {int(service["environment"]["VISION_ADMIN_PORT"])}


def test_the_secret_is_the_one_that_the_runbook_makes_and_its_file_the_one_that_is_read() -> None:
    file = PurePosixPath(env("gateway.env")["VISION_API_KEYS_FILE"])
    (mount,) = (m for m in container()["volumeMounts"] if m["mountPath"] == str(file.parent))
    assert mount["readOnly"] is True
    assert "subPath" not in mount, "a changed Secret would not arrive"
    (volume,) = (v for v in gateway()["spec"]["volumes"] if v["name"] == mount["name"])
    made = f"create secret generic {volume['secret']['secretName']} --from-file={file.name}"
    assert made in RUNBOOK.read_text(encoding="utf-8")


def test_the_keys_folder_of_compose_is_where_the_runbook_puts_the_file() -> None:
    assert "${GATEWAY_KEYS:-./deploy/keys}:/keys:ro" in compose_gateway()["volumes"]
    page = RUNBOOK.read_text(encoding="utf-8")
    assert ">> deploy/keys/keys.jsonl" in page
    assert "VISION_API_KEYS_FILE=/keys/keys.jsonl" in page
