"""The Python packages of an image, out of pyproject.toml: `python requirements.py gateway|exporter < pyproject.toml`.

The same list as an installation by pip, but for one line: the images carry the CPU build of ONNX Runtime. On a GPU
host Triton runs the models, and the CUDA build would make the gateway's image several times as large.
"""

from __future__ import annotations

import sys
import tomllib


def packages(pyproject: str, target: str) -> list[str]:
    """The requirements of `gateway` or `exporter`. Raises KeyError if pyproject.toml lacks the extra of either."""
    project = tomllib.loads(pyproject)["project"]
    wanted = list(project["dependencies"])
    # Traces, for the one that serves: off, they cost a few megabytes of the image and nothing else.
    wanted += project["optional-dependencies"]["export" if target == "exporter" else "otel"]
    runtimes = [line for line in wanted if line.startswith("onnxruntime")]
    version = runtimes[0].split(";")[0].removeprefix("onnxruntime-gpu").strip()
    return [*(line for line in wanted if line not in runtimes), f"onnxruntime{version}"]


if __name__ == "__main__":
    print("\n".join(packages(sys.stdin.read(), sys.argv[1])))
