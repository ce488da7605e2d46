"""What docs/open-inference-protocol.md shows runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.gateway_server import ROOT, GatewayServer

PAGE = (ROOT / "docs" / "open-inference-protocol.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(python|sh)\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize(("language", "block"), BLOCKS, ids=[language for language, _ in BLOCKS])
def test_the_block_runs(default_gateway: GatewayServer, language: str, block: str) -> None:
    here = block.replace("127.0.0.1:8080", f"127.0.0.1:{default_gateway.port}")
    here = here.replace("curl -s", "curl --fail --silent --show-error")
    command = [sys.executable, "-c", here] if language == "python" else ["bash", "-ec", here]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr


def test_there_is_something_to_run() -> None:
    assert [language for language, _ in BLOCKS] == ["python", "sh"]
