"""Nodes in the order of execution: ONNX demands it, TensorRT's parser needs it, and some converters forget it."""

from __future__ import annotations

import onnx
import onnx_ir as ir


def in_order(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph, its nodes sorted so that each comes after those it reads from."""
    as_ir = ir.from_proto(model)
    as_ir.graph.sort()
    return ir.to_proto(as_ir)
