"""On what, with what and when something was measured: it stands inside every results file."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"
_PACKAGES = ("numpy", "onnxruntime-gpu", "onnxruntime", "pillow", "uvicorn", "vision-gateway")


def cpu() -> str:
    """The processor's own name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def device() -> str:
    """Processor and cores, as in "AMD EPYC, 2 cores"."""
    return f"{cpu()}, {os.cpu_count()} cores"


def slug() -> str:
    """The device as part of a file name."""
    kept = (character if character.isalnum() else "-" for character in device().lower().replace(",", ""))
    return "-".join(part for part in "".join(kept).split("-") if part)


def circumstances() -> dict[str, str]:
    """Device, versions, date (UTC)."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "device": device(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "python": platform.python_version(),
        **versions,
    }
