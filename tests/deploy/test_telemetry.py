"""Nothing that we start reports to anybody."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.deploy.files import ROOT

# Stops at the first import of ONNX Runtime, which is when it looks.
PROGRAM = """
import os, sys

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            print(os.environ.get("ORT_DISABLE_TELEMETRY"))
            os._exit(0)

sys.meta_path.insert(0, Watch())
from service.cli import main
main()
"""


@pytest.mark.parametrize("words", [("serve",), ("classify", "examples")], ids=" ".join)
def test_vision_tells_onnx_runtime_not_to_report_home_before_it_is_imported(words: tuple[str, ...]) -> None:
    clean = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    command = [sys.executable, "-u", "-c", PROGRAM, *words]
    done = subprocess.run(command, env=clean, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "1", done.stderr


def test_both_images_and_the_makefile_tell_it_too() -> None:
    assert (ROOT / "Dockerfile").read_text(encoding="utf-8").count("ORT_DISABLE_TELEMETRY=1") == 2
    assert "\nexport ORT_DISABLE_TELEMETRY ?= 1\n" in (ROOT / "Makefile").read_text(encoding="utf-8")
