"""torch module → ONNX graph, in memory, batch axis free, height and width fixed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
from torch import nn

from export.errors import GraphError
from service.manifest import INPUT_NAME

OPSET = 18
# The exporter is told where the batch axis may go; ONNX itself records no limit.
MOST_TRACED = 64
# 1 would be taken for a constant.
EXAMPLE_BATCH = 2

Translations = dict[Callable[..., Any], Callable[..., Any]]


def to_onnx(
    module: nn.Module,
    size_hw: tuple[int, int],
    outputs: tuple[str, ...],
    translations: Translations | None = None,
    *,
    trace_first: bool = False,
) -> ir.Model:
    """The module's graph, with input `image` (batch, H, W, 3) uint8 and outputs of the names given.

    translations    how operators of our own become ONNX (export.heads.nms)

    trace_first     try torch's older exporter first: minutes less for the largest transformers

    Where the first of the two exporters fails, the other one is tried. Raises GraphError if both do.
    """
    example = torch.zeros((EXAMPLE_BATCH, *size_hw, 3), dtype=torch.uint8)
    captured = partial(_by_graph_capture, module, example, outputs, translations)
    traced = partial(_by_tracing, module, example, outputs)
    one, other = (traced, captured) if trace_first else (captured, traced)
    try:
        return one()
    except Exception as first:  # an exporter may raise anything at all
        try:
            return other()
        except Exception as second:
            raise GraphError(f"neither exporter takes this network: {_line(first)}; {_line(second)}") from first


def _by_graph_capture(
    module: nn.Module, example: torch.Tensor, outputs: tuple[str, ...], translations: Translations | None
) -> ir.Model:
    batch = torch.export.Dim("batch", min=1, max=MOST_TRACED)
    program = torch.onnx.export(
        module,
        (example,),
        input_names=[INPUT_NAME],
        output_names=list(outputs),
        opset_version=OPSET,
        dynamo=True,
        dynamic_shapes=({0: batch},),
        custom_translation_table=translations,
        optimize=False,  # export.optimise does it, where it can be checked
        verbose=False,
    )
    if program is None:
        raise GraphError("the exporter returned nothing.")
    return program.model


def _by_tracing(module: nn.Module, example: torch.Tensor, outputs: tuple[str, ...]) -> ir.Model:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "traced.onnx"
        torch.onnx.export(
            module,
            (example,),
            str(file),
            input_names=[INPUT_NAME],
            output_names=list(outputs),
            opset_version=OPSET,
            dynamo=False,
            dynamic_axes={name: {0: "batch"} for name in (INPUT_NAME, *outputs)},
        )
        model = ir.load(file)
        # The folder goes, so the tensors must not stay in it.
        ir.external_data.load_to_model(model)
        return model


def _line(err: BaseException) -> str:
    """What went wrong first, on one line: the exporters wrap it in advice."""
    while err.__cause__ is not None:
        err = err.__cause__
    return f"{type(err).__name__}: {str(err).strip().split(chr(10))[0][:200]}"
