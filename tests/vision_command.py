"""`vision` as a person types it, and the models that the tests of it name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.gateway_server import REPOSITORY, ROOT

VISION = Path(sys.executable).with_name("vision")
CLASSIFIER = "efficientnet_lite0_int8"
DETECTOR = "ssdlite_efficientnet_lite0_384"
SLOW_DETECTOR = "ssdlite_efficientnet_lite0_512"
SEGMENTER = "masks_efficientnet_lite0_384"

Run = subprocess.CompletedProcess[str]


def environment(**more: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("VISION_")}
    return {**clean, "VISION_REPOSITORY": str(REPOSITORY), "COLUMNS": "200", **more}


def vision(*words: str | Path, **more: str) -> Run:
    command = [str(VISION), *map(str, words)]
    return subprocess.run(command, env=environment(**more), cwd=ROOT, capture_output=True, text=True, timeout=120)


def lines(run: Run) -> list[dict[str, Any]]:
    """The JSON documents that it wrote, one a line."""
    return [json.loads(line) for line in run.stdout.splitlines()]
