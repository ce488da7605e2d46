"""A model repository of five tiny models, made on the spot: no weights to fetch, no torch.

tiny   8×8 pictures → probabilities (5) and embedding (4), in microseconds
slow   the same answer after some tenths of a second
picky  fails inside ONNX Runtime if a picture's first byte is 255, else answers
single `tiny` without a batch axis to grow: max_batch_size 0, its graph takes exactly one picture
narrow `slow`, one picture at a time; on Triton two may wait for it, for 150 ms at most
"""

from __future__ import annotations

import functools
import math
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from google.protobuf import text_format
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tritonclient.grpc import model_config_pb2

from service.entry_config import write_entry
from service.entry_files import CONFIG_FILE, file_sha256, onnx_path
from service.manifest import ModelCard, ResizeRule, TensorSpec, Weights
from service.triton_config import QUEUE_LIMIT, QUEUE_TIMEOUT_US

SIDE_PX = 8
CLASSES = 5
EMBEDDING = 4
MAX_BATCH = 8
NARROW_QUEUE = 2
NARROW_TIMEOUT_US = 150_000
SLOW_S = 0.3  # of `slow`, with all the cores of a machine that does nothing else
SLOW_SIDE = 1024  # 2 GFLOP a product

_random = np.random.default_rng(7)
_TO_CLASSES = _random.normal(size=(SIDE_PX * SIDE_PX * 3, CLASSES)).astype(np.float32)
_TO_EMBEDDING = _random.normal(size=(SIDE_PX * SIDE_PX * 3, EMBEDDING)).astype(np.float32)


def write_tiny_repository(folder: Path) -> list[ModelCard]:
    """Writes the five entries and returns their cards, sorted by name."""
    cards = [
        _write_model(folder / "narrow", _slow_nodes(_slow_products()), max_batch_size=1),
        _write_model(folder / "picky", _picky_nodes()),
        _write_model(folder / "single", [], max_batch_size=0),
        _write_model(folder / "slow", _slow_nodes(_slow_products())),
        _write_model(folder / "tiny", []),
    ]
    _narrow_the_queue(folder / "narrow" / CONFIG_FILE)
    return cards


def write_foreign_entry(entry: Path) -> None:
    """Writes a model that Triton serves and that carries no card: somebody else's."""
    path = onnx_path(entry)
    path.parent.mkdir(parents=True)
    onnx.save(_model([]), path)
    config = model_config_pb2.ModelConfig(name=entry.name, backend="onnxruntime", max_batch_size=MAX_BATCH)
    config.input.add(name="image", data_type="TYPE_UINT8", dims=[SIDE_PX, SIDE_PX, 3])
    config.output.add(name="embedding", data_type="TYPE_FP32", dims=[EMBEDDING])
    (entry / CONFIG_FILE).write_text(text_format.MessageToString(config))


def pictures(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """(count, 8, 8, 3) random pictures that `picky` likes, no two alike."""
    pixels = np.random.default_rng(seed).integers(0, 256, size=(count, SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    pixels[:, 0, 0, 0] = 7
    return pixels


def expected(pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """What every model of the repository answers, computed without ONNX Runtime."""
    flat = pixels.reshape(len(pixels), -1).astype(np.float32) / 255  # (N, 192)
    logits = flat @ _TO_CLASSES  # (N, 5)
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return {"probabilities": raised / raised.sum(axis=1, keepdims=True), "embedding": flat @ _TO_EMBEDDING}


def _narrow_the_queue(config: Path) -> None:
    text = config.read_text()
    for key, ours, narrow in (
        ("max_queue_size", QUEUE_LIMIT, NARROW_QUEUE),
        ("default_timeout_microseconds", QUEUE_TIMEOUT_US, NARROW_TIMEOUT_US),
    ):
        assert f"{key}: {ours}\n" in text
        text = text.replace(f"{key}: {ours}\n", f"{key}: {narrow}\n")
    config.write_text(text)


def _write_model(entry: Path, extra: list[onnx.NodeProto], max_batch_size: int = MAX_BATCH) -> ModelCard:
    path = onnx_path(entry)
    path.parent.mkdir(parents=True)
    onnx.save(_model(extra, "N" if max_batch_size else 1), path)
    card = _card(entry.name, max_batch_size, file_sha256(path), path.stat().st_size)
    write_entry(card, entry)
    return card


def _model(extra: list[onnx.NodeProto], batch: str | int = "N") -> onnx.ModelProto:
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["pixels", "scale"], ["scaled"]),
        helper.make_node("Flatten", ["scaled"], ["flat"]),  # (N, 192)
        helper.make_node("MatMul", ["flat", "to_classes"], ["plain_logits"]),  # (N, 5)
        *extra,
        helper.make_node("Add", ["plain_logits", "nothing" if extra else "zero"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node("MatMul", ["flat", "to_embedding"], ["embedding"]),  # (N, 4)
    ]
    constants = {
        "scale": np.float32(255),
        "zero": np.float32(0),
        "tiny_number": np.float32(1e-30),
        "to_classes": _TO_CLASSES,
        "to_embedding": _TO_EMBEDDING,
        "square": np.full((SLOW_SIDE, SLOW_SIDE), 1 / SLOW_SIDE, np.float32),
        "square_shape": np.array([SLOW_SIDE, SLOW_SIDE], np.int64),
        "corner_start": np.array([0], np.int64),
        "corner_end": np.array([1], np.int64),
        "zeros": np.zeros(255, np.float32),
    }
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [batch, SIDE_PX, SIDE_PX, 3])],
        [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [batch, CLASSES]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [batch, EMBEDDING]),
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items() if name in used],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@functools.cache
def _slow_products() -> int:
    """How many products take SLOW_S here: machines differ by a factor of four and more."""
    tried = 4
    session = onnxruntime.InferenceSession(_model(_slow_nodes(tried)).SerializeToString())
    times_s = []
    for _ in range(5):
        started_s = time.perf_counter()
        session.run(["probabilities"], {"image": pictures(1)})
        times_s.append(time.perf_counter() - started_s)
    return math.ceil(tried * SLOW_S / min(times_s))


def _slow_nodes(products: int) -> list[onnx.NodeProto]:
    """A long product that depends on the picture, so that it cannot be folded away, and adds 1e-30 of its mean."""
    nodes = [
        helper.make_node("ReduceMean", ["flat"], ["mean"], keepdims=0),
        helper.make_node("Expand", ["mean", "square_shape"], ["product_0"]),
    ]
    for i in range(products):
        nodes.append(helper.make_node("MatMul", [f"product_{i}", "square"], [f"product_{i + 1}"]))
    nodes.append(helper.make_node("ReduceMean", [f"product_{products}"], ["mean_product"], keepdims=0))
    nodes.append(helper.make_node("Mul", ["mean_product", "tiny_number"], ["nothing"]))
    return nodes


def _picky_nodes() -> list[onnx.NodeProto]:
    """Looks the first byte of each picture up in a table of 255 zeros: 255 is beyond its end."""
    return [
        helper.make_node("Flatten", ["image"], ["bytes"]),
        helper.make_node("Slice", ["bytes", "corner_start", "corner_end", "corner_end"], ["corner"]),  # (N, 1)
        helper.make_node("Cast", ["corner"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["zeros", "index"], ["nothing"]),  # (N, 1)
    ]


def _card(name: str, max_batch_size: int, sha256: str, size_bytes: int) -> ModelCard:
    return ModelCard(
        name=name,
        variant_of=name,
        task="classify",
        family="tiny",
        precision="fp32",
        backend="onnxruntime",
        max_batch_size=max_batch_size,
        resize=ResizeRule("squash", (SIDE_PX, SIDE_PX)),
        outputs=(
            TensorSpec("probabilities", "FP32", (CLASSES,)),
            TensorSpec("embedding", "FP32", (EMBEDDING,)),
        ),
        label_set="own",
        label_names=tuple("abcde"),
        accuracy=None,
        weights=Weights("untrained", "tests/contract/tiny_repository.py", "Apache-2.0", "0" * 64),
        params=_TO_CLASSES.size + _TO_EMBEDDING.size,
        flops=2 * (_TO_CLASSES.size + _TO_EMBEDDING.size),
        onnx_sha256=sha256,
        onnx_bytes=size_bytes,
        verification=(),
        profile=None,
    )
