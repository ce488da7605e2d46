"""schemathesis against the running gateway: nothing is answered that the OpenAPI document does not say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx

from tests.gateway_server import ROOT, GatewayServer

FOLDER = ROOT / "tests" / "e2e" / "schemathesis"


def test_every_answer_is_as_the_document_says(embedded_gateway: GatewayServer, tmp_path: Path) -> None:
    command: list[str | Path] = [
        Path(sys.executable).with_name("st"),
        f"--config-file={FOLDER / 'schemathesis.toml'}",
        "run",
        embedded_gateway.url + "/openapi.json",
        *("--seed=1", "--generation-deterministic", "--max-examples=8"),
        *("--phases=examples,coverage,fuzzing", "--continue-on-failure", "--request-timeout=60", "--no-color"),
    ]
    environment = os.environ | {"SCHEMATHESIS_HOOKS": "tests.e2e.schemathesis.hooks", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=240)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    tested = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert tested, done.stdout[-2000:]
    assert int(tested[1]) > 500
    # It came further than to refusals.
    metrics = httpx.get(embedded_gateway.admin_url + "/metrics").text
    for task in ("classify", "embed", "detect", "segment"):
        answered = re.findall(rf'vision_requests_total{{outcome="(ok|degraded)",task="{task}"', metrics)
        assert answered, f"no {task} was answered"
