"""A real Prometheus scrapes a real gateway under a little load: every panel and every recording rule has data.

And what the runbook has an operator type at a gateway does it.
"""

from __future__ import annotations

import math
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import yaml

from tests.deploy.files import PROMETHEUS, RUNBOOK, Document, dashboard_queries, documents, installed, recorded
from tests.gateway_server import ROOT, GatewayServer, require_models

PICTURE = ROOT / "examples" / "chelsea.jpg"
LOAD_S = 6.0
DATA_WITHIN_S = 15.0
# As small a window as the load is short; Grafana fills in four scrape intervals.
RATE_INTERVAL = "20s"


class PrometheusServer:
    """Prometheus with our rules and our scrape jobs, each second instead of every five, on a free port."""

    def __init__(self, program: str, folder: Path, gateway_port: int) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self._config = folder / "prometheus.yml"
        self._config.write_text(yaml.safe_dump(_faster(gateway_port)), encoding="utf-8")
        self._command = [
            program,
            f"--config.file={self._config}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self._port}",
            "--log.level=warn",
        ]
        self._log = folder / "log"
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{self._port}/api/v1", timeout=10)

    def __enter__(self) -> PrometheusServer:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._process.terminate()
        assert self._process.wait(20) == 0, self._log.read_text(errors="replace")[-2000:]

    def values(self, promql: str) -> list[float]:
        """The numbers that the query gives now, NaN left out; none while Prometheus is still starting."""
        try:
            answer = self._client.get("/query", params={"query": promql})
        except httpx.TransportError:
            assert self._process.poll() is None, self._log.read_text(errors="replace")[-2000:]
            return []
        if answer.status_code == 503:
            return []
        assert answer.status_code == 200, f"{promql}: {answer.text}"
        found = [float(series["value"][1]) for series in answer.json()["data"]["result"]]
        return [value for value in found if not math.isnan(value)]

    def wait_for(self, promql: str) -> bool:
        give_up_s = time.monotonic() + DATA_WITHIN_S
        while not (found := self.values(promql)) and time.monotonic() < give_up_s:
            time.sleep(0.2)
        return bool(found)

    def rules(self) -> list[Document]:
        groups = self._client.get("/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]


def _faster(gateway_port: int) -> Document:
    config = documents(PROMETHEUS / "prometheus.yml")[0]
    config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(PROMETHEUS / name) for name in config["rule_files"]]
    targets = [{"targets": [f"127.0.0.1:{gateway_port}"]}]
    config["scrape_configs"] = [{"job_name": "gateway", "static_configs": targets}]
    return config


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    """Prometheus, after the gateway has seen some seconds of all kinds of requests, and while it still does."""
    program = installed("prometheus", "Debian's package prometheus")
    folder = tmp_path_factory.mktemp("live")
    settings = {"VISION_REPOSITORY": str(require_models()), "VISION_WORKERS": "1", "VISION_MAX_IN_FLIGHT": "3"}
    with GatewayServer(folder / "gateway.log", settings) as gateway:
        gateway.wait_for("/health/ready")
        with PrometheusServer(program, folder, gateway.admin_port) as server, ThreadPoolExecutor(8) as clients:
            assert server.wait_for('up{job="gateway"} == 1')
            stop = threading.Event()
            asking = [clients.submit(_ask_on, gateway.url, stop, number) for number in range(6)]
            time.sleep(LOAD_S)
            try:
                yield server
            finally:
                stop.set()
                for client in asking:
                    client.result(60)


def _ask_on(url: str, stop: threading.Event, number: int) -> None:
    """One client: every tier, a cascade, a named model, what cannot be done, and more at once than are let in."""
    queries = (
        *("tier=relaxed", "tier=batch", "tier=batch&strategy=cascade", "latency_budget_ms=900", "tier=standard"),
        *("model=mobilenet_v2", "latency_budget_ms=1", "model=no_such_model"),
    )
    picture = PICTURE.read_bytes()
    with httpx.Client(base_url=url, headers={"Content-Type": "image/jpeg"}, timeout=30) as client:
        while not stop.is_set():
            client.post(f"/v1/classify?{queries[number % len(queries)]}", content=picture)
            number += 1
            stop.wait(0.02)


def test_every_panel_has_data(prometheus: PrometheusServer) -> None:
    empty = []
    for title, query in dashboard_queries():
        filled = query.replace("$__rate_interval", RATE_INTERVAL).replace("$tier", ".*")
        assert "$" not in filled, f"{title}: a variable that the test does not know"
        if not prometheus.wait_for(filled):
            empty.append(f"{title}: {filled}")
    assert empty == []


def test_every_recording_rule_has_data(prometheus: PrometheusServer) -> None:
    assert [name for name in sorted(recorded()) if not prometheus.wait_for(name)] == []


def test_every_rule_is_evaluated_without_error(prometheus: PrometheusServer) -> None:
    assert prometheus.wait_for("tier:vision_slo_missed:ratio5m")
    rules = prometheus.rules()
    assert len(rules) >= 19
    assert {rule["name"]: rule.get("lastError", "") for rule in rules if rule["health"] != "ok"} == {}


def test_what_is_rare_was_really_seen(prometheus: PrometheusServer) -> None:
    """The panels that say 0 where there is nothing were not content with that."""
    assert prometheus.wait_for('vision_requests_total{outcome="shed"} > 0')
    assert prometheus.wait_for("sum(vision_cascades_total) > 0")


def test_the_unload_of_the_runbook_takes_a_model_out(tmp_path: Path) -> None:
    (typed,) = re.findall(r"^unload='(.+)'$", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE)
    repository = tmp_path / "models"
    repository.mkdir()
    (repository / "mobilenet_v2").symlink_to(require_models() / "mobilenet_v2", target_is_directory=True)
    with GatewayServer(tmp_path / "log", {"VISION_REPOSITORY": str(repository)}) as gateway:
        gateway.wait_for("/health/ready")
        script = typed.replace(":8081", f":{gateway.admin_port}").replace("NAME", "mobilenet_v2")
        subprocess.run([sys.executable, "-c", script], check=True, timeout=30)
        (model,) = httpx.get(f"{gateway.url}/v1/models").json()["models"]
    assert (model["name"], model["state"]) == ("mobilenet_v2", "withdrawn")
