"""`vision`: the command line. The commands are in service.cli.commands."""

from __future__ import annotations

import os
import sys

# ONNX Runtime's wheels report home unless told not to, and they look when they are imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def main() -> None:
    try:
        from service.cli.commands import app

        app(prog_name="vision")
    except KeyboardInterrupt:  # while it was still starting
        sys.exit(130)
