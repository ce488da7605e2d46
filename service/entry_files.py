"""What lies where in an entry of the model repository, and the digest that a card keeps of a file.

model_repository/<name>/config.pbtxt     the only description; Triton serves it over gRPC as it is
model_repository/<name>/1/model.onnx     the artifact it describes, by sha256
model_repository/<name>/2/model.plan     what TensorRT built of it; served if the config says so, docs/tensorrt.md
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from service.manifest import VERSION, ModelCard

CONFIG_FILE = "config.pbtxt"
# The config that a plan took the place of: how to go back, and what an engine without TensorRT reads.
ONNX_CONFIG_FILE = "config.onnxruntime.pbtxt"
ONNX_FILE = "model.onnx"
PLAN_FILE = "model.plan"


def onnx_path(entry: Path) -> Path:
    return entry / VERSION / ONNX_FILE


def plan_path(entry: Path, card: ModelCard) -> Path:
    return entry / card.version / PLAN_FILE


def file_sha256(path: Path) -> str:
    """Hex digest of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
