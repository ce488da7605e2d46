"""What an FP16 variant is called and made from: enough to tell, in milliseconds, whether it is up to date."""

from __future__ import annotations

import hashlib

from service.manifest import ModelCard

# To be raised whenever the same graph would give another graph, or be judged by other gates.
CONVERTER_VERSION = 1


def fp16_name(name: str) -> str:
    return f"{name}_fp16"


def fp16_recipe(fp32: ModelCard) -> str:
    """Hex digest of everything that the variant is made from: FP32 entry and converter."""
    return hashlib.sha256(repr((CONVERTER_VERSION, fp32.recipe, fp32.onnx_sha256)).encode()).hexdigest()
