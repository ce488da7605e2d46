"""Known vulnerabilities of a list of pinned packages, by pip-audit: `python audit.py build/gateway.txt`.

Exit 1 if there are any. pip-audit itself says "No known vulnerabilities found" and exits with 0 where it could look up
nothing at all; here that is one line that says so, still 0: what cannot be asked is no finding.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def audit(pinned: Path) -> dict[str, Any] | None:
    """pip-audit's report, None if it gave none."""
    program = Path(sys.executable).with_name("pip-audit")
    options = ["--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off", "--timeout", "5"]
    done = subprocess.run(  # noqa: S603 -- our own environment's program, our own arguments
        [program, "--requirement", pinned, *options], capture_output=True, text=True, check=False
    )
    try:
        report: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        return None
    return report


def verdict(report: dict[str, Any] | None) -> tuple[str, int]:
    """What to say, and the exit status."""
    packages = report["dependencies"] if report else []
    asked = [package for package in packages if "skip_reason" not in package]
    if not asked:
        return "NOT audited: no vulnerability database can be reached from here", 0
    found = [
        f"{package['name']} {package['version']}: {known['id']}, mended in {', '.join(known['fix_versions']) or '?'}"
        for package in asked
        for known in package["vulns"]
    ]
    heading = f"{len(asked)} of {len(packages)} packages looked up, {len(found)} known vulnerabilities"
    return "\n".join([heading, *found]), 1 if found else 0


if __name__ == "__main__":
    text, status = verdict(audit(Path(sys.argv[1])))
    print(text)
    sys.exit(status)
