"""Every package of an image with its version, also those that others bring: `python pinned.py gateway|exporter`.

Read from this environment, which constraints.txt made, so that the bill of materials and the audit speak of what the
tests ran with.
"""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

sys.path.insert(0, str(Path(__file__).parent))
from requirements import packages

ROOT = Path(__file__).resolve().parents[2]
# The image has the build for the CPU; here the one for GPUs is installed, of the same version and needs.
STANDS_FOR = {"onnxruntime": "onnxruntime-gpu"}


def pinned(wanted: list[str]) -> list[str]:
    """`name==version` of everything wanted and all it needs. Raises PackageNotFoundError for what is not here."""
    found: dict[str, str] = {}
    left = [Requirement(line) for line in wanted]
    while left:
        requirement = left.pop()
        name = canonicalize_name(requirement.name)
        extras = requirement.extras or {""}
        if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
            continue
        if name in found and not requirement.extras:
            continue
        package = metadata.distribution(STANDS_FOR.get(name, name))
        found[name] = package.version
        for line in package.requires or ():
            needed = Requirement(line)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in {"", *extras}):
                needed.marker = None
                left.append(needed)
    return [f"{name}=={version}" for name, version in sorted(found.items())]


if __name__ == "__main__":
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    print("\n".join(pinned(packages(project, sys.argv[1]))))
