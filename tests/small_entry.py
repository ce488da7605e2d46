"""An entry of a small classifier, made on the spot: as `vision-export lenet5` would make it, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from service.entry_config import write_entry
from service.entry_files import file_sha256, onnx_path
from service.manifest import Accuracy, ModelCard, Profile, ResizeRule, TensorSpec, Weights

ROW_NAME = "lenet5"
CLASSES = 10
CHANNELS = 16

GRAPH = """
<ir_version: 9, opset_import: ["" : 18]>
small (uint8[N,32,32,3] image) => (float[N,10] probabilities, float[N,16] embedding) {
  planes = Transpose <perm = [0, 3, 1, 2]> (image)
  pixels = Cast <to = 1> (planes)
  scaled = Mul (pixels, scale)
  centred = Add (scaled, shift)
  layer = Conv <strides = [4, 4]> (centred, kernel, bias)
  active = Relu (layer)
  mean = ReduceMean <keepdims = 0> (active, axes)
  embedding = Identity (mean)
  logits = Gemm <transB = 1> (mean, to_classes, class_bias)
  probabilities = Softmax <axis = 1> (logits)
}
"""


def small_graph(seed: int = 0) -> onnx.ModelProto:
    """The graph with random numbers, which prove nothing but that arithmetic is arithmetic."""
    dice = np.random.default_rng(seed)
    model = onnx.parser.parse_model(GRAPH)
    constants = {
        "scale": np.float32(1 / 64).reshape(1),
        "shift": np.float32(-2).reshape(1),
        "kernel": dice.normal(size=(CHANNELS, 3, 8, 8)) / 8,
        "bias": dice.normal(size=CHANNELS),
        "axes": np.array([2, 3], np.int64),
        "to_classes": dice.normal(size=(CLASSES, CHANNELS)),
        "class_bias": np.zeros(CLASSES),
    }
    for name, value in constants.items():
        array = np.asarray(value)
        array = array if array.dtype == np.int64 else array.astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    return model


def write_small_entry(repository: Path, name: str = ROW_NAME, seed: int = 0, **changes: Any) -> ModelCard:
    """The card of the entry that is now in the repository."""
    entry = repository / name
    onnx_path(entry).parent.mkdir(parents=True)
    onnx.save(small_graph(seed), onnx_path(entry))
    fields: dict[str, Any] = {
        "name": name,
        "variant_of": ROW_NAME,
        "task": "classify",
        "family": "LeNet",
        "precision": "fp32",
        "backend": "onnxruntime",
        "max_batch_size": 16,
        "resize": ResizeRule("crop", (32, 32), "bilinear", 32),
        "outputs": (TensorSpec("probabilities", "FP32", (CLASSES,)), TensorSpec("embedding", "FP32", (CHANNELS,))),
        "label_set": "own",
        "label_names": tuple("0123456789"),
        "accuracy": Accuracy(90.0, "top-1", "digits", "tests/small_entry.py"),
        "weights": Weights("file", "tests/small_entry.py", "Apache-2.0", "0" * 64),
        "params": 1,
        "flops": 1,
        "onnx_sha256": file_sha256(onnx_path(entry)),
        "onnx_bytes": onnx_path(entry).stat().st_size,
        "verification": (),
        "profile": Profile("nowhere", 0.1, 0.1, ((1, 0.2), (8, 0.9))),
        "recipe": f"seed {seed}",
    }
    card = ModelCard(**(fields | changes))
    write_entry(card, entry)
    return card
