"""Entries that are whole, with digests that agree, and whose graphs are bad: as of a broken export or driver."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.repository import publish, staging
from service.entry_config import read_entry, write_entry
from service.entry_files import file_sha256, onnx_path
from tests.gateway_server import REPOSITORY

Change = Callable[[onnx.ModelProto], None]

_PROBABILITIES = "probabilities"
# The value of the grey picture that a model is tried with when it is loaded: with that one all seems well.
_GREY = 114.0
_PRODUCTS, _SIDE = 12, 1024


def put_doctored(repository: Path, name: str, change: Change) -> None:
    """Replaces the entry as an export would, by one whose graph was changed."""
    with staging(repository, name) as folder:
        shutil.copytree(REPOSITORY / name, folder, dirs_exist_ok=True)
        path = onnx_path(folder)
        model = onnx.load(path)
        path.unlink()
        change(model)
        onnx.save(model, path)
        card = read_entry(REPOSITORY / name)
        write_entry(replace(card, onnx_sha256=file_sha256(path), onnx_bytes=path.stat().st_size), folder)
        publish(folder, repository, name)


def put_back(repository: Path, name: str) -> None:
    """The good entry again, replaced as an export would."""
    with staging(repository, name) as folder:
        shutil.copytree(REPOSITORY / name, folder, dirs_exist_ok=True)
        publish(folder, repository, name)


def no_numbers(model: onnx.ModelProto) -> None:
    """NaN instead of probabilities, for every picture that is not plain grey."""
    raw = _cut_off_output(model)
    _constant(model, "chaos_grey", np.float32(_GREY))
    _constant(model, "chaos_zero", np.float32(0))
    _largest_of_picture(model)
    _add(model, "Sub", ["chaos_brightest", "chaos_grey"], "chaos_off_grey")
    _add(model, "Abs", ["chaos_off_grey"], "chaos_distance")
    _add(model, "Sub", ["chaos_zero", "chaos_distance"], "chaos_below_zero")
    _add(model, "Sqrt", ["chaos_below_zero"], "chaos_no_number")  # of 0 it is 0
    _add(model, "Add", [raw, "chaos_no_number"], _PROBABILITIES)


def another_shape(model: onnx.ModelProto) -> None:
    """One probability less than the card says."""
    raw = _cut_off_output(model)
    for name, value in (("start", 0), ("end", -1), ("axis", 1)):
        _constant(model, f"chaos_{name}", np.array([value], np.int64))
    _add(model, "Slice", [raw, "chaos_start", "chaos_end", "chaos_axis"], _PROBABILITIES)
    output = next(output for output in model.graph.output if output.name == _PROBABILITIES)
    output.type.tensor_type.shape.dim[1].dim_value -= 1


def slow(model: onnx.ModelProto) -> None:
    """The same answers after some tenths of a second more: products that depend on the picture."""
    raw = _cut_off_output(model)
    _largest_of_picture(model)
    _constant(model, "chaos_square", np.full((_SIDE, _SIDE), 1 / _SIDE, np.float32))
    _constant(model, "chaos_square_shape", np.array([_SIDE, _SIDE], np.int64))
    _constant(model, "chaos_tiny", np.float32(1e-30))
    _add(model, "ReduceMax", ["chaos_brightest"], "chaos_largest", keepdims=0)
    _add(model, "Expand", ["chaos_largest", "chaos_square_shape"], "chaos_product_0")
    for i in range(_PRODUCTS):
        _add(model, "MatMul", [f"chaos_product_{i}", "chaos_square"], f"chaos_product_{i + 1}")
    _add(model, "ReduceMax", [f"chaos_product_{_PRODUCTS}"], "chaos_end", keepdims=0)
    _add(model, "Mul", ["chaos_end", "chaos_tiny"], "chaos_nothing")
    _add(model, "Add", [raw, "chaos_nothing"], _PROBABILITIES)


def of_bytes(size_bytes: int) -> Change:
    """A graph that needs so much memory while it is opened: a constant that is made then."""

    def change(model: onnx.ModelProto) -> None:
        raw = _cut_off_output(model)
        _constant(model, "chaos_shape", np.array([size_bytes // 4], np.int64))
        _add(model, "ConstantOfShape", ["chaos_shape"], "chaos_large")
        _add(model, "ReduceMax", ["chaos_large"], "chaos_nothing", keepdims=0)
        _add(model, "Add", [raw, "chaos_nothing"], _PROBABILITIES)

    return change


def _cut_off_output(model: onnx.ModelProto) -> str:
    """The name that the graph's probabilities now have, so that something can follow on them."""
    inner = "chaos_raw"
    for node in model.graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                if name == _PROBABILITIES:
                    names[i] = inner
    return inner


def _largest_of_picture(model: onnx.ModelProto) -> None:
    """`chaos_brightest` [N, 1]: the largest value of each picture, 0..255."""
    _constant(model, "chaos_flat_shape", np.array([0, -1], np.int64))
    _add(model, "Cast", [model.graph.input[0].name], "chaos_pixels", to=TensorProto.FLOAT)
    _add(model, "Reshape", ["chaos_pixels", "chaos_flat_shape"], "chaos_flat")
    _constant(model, "chaos_each", np.array([1], np.int64))
    _add(model, "ReduceMax", ["chaos_flat", "chaos_each"], "chaos_brightest", keepdims=1)


def _add(model: onnx.ModelProto, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
    model.graph.node.append(helper.make_node(kind, inputs, [output], **attributes))


def _constant(model: onnx.ModelProto, name: str, value: object) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
