"""What every graph looks like from outside: its outputs by task, and whether it keeps to what its card says."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from service.errors import EngineFailed
from service.manifest import ModelCard, SegmentKind, Task

_DTYPES = {"FP32": np.float32, "FP16": np.float16, "INT32": np.int32, "INT64": np.int64, "UINT8": np.uint8}


def contract_outputs(task: Task, kind: SegmentKind | None = None) -> tuple[str, ...]:
    """The graph outputs that a model of that task must have.

    probabilities  FP32 (C,), sum 1
    boxes          FP32 (K, 4) xyxy in 0..1 of the model's input    scores  FP32 (K,), 0: an empty slot
    classes        INT32 (K,)
    masks          FP32 (K, h, w) in 0..1, each over exactly its box
    class_map      UINT8 (H, W)           segment_map  UINT8 (H, W), 0: no segment
    """
    if task == "classify":
        return ("probabilities",)
    if task == "detect":
        return ("boxes", "scores", "classes")
    if kind == "instance":
        return ("boxes", "scores", "classes", "masks")
    return ("class_map", "segment_map") if kind == "panoptic" else ("class_map",)


def check_outputs(card: ModelCard, arrays: Mapping[str, NDArray[np.generic] | None], rows: int) -> None:
    """Raises EngineFailed unless every array is (rows, *dims) of the card's type: a model that answers in another
    shape would be read as if it had said something else."""
    for name, array in arrays.items():
        spec = card.output(name)
        if array is None or spec is None:
            raise EngineFailed(f"{card.name} gave no {name}")
        fits = len(array.shape) == 1 + len(spec.dims) and array.shape[0] == rows
        if not fits or any(
            wanted >= 0 and wanted != got for wanted, got in zip(spec.dims, array.shape[1:], strict=True)
        ):
            raise EngineFailed(f"{card.name} gave {name} as {list(array.shape)}, not as {[rows, *spec.dims]}")
        if spec.dtype in _DTYPES and array.dtype != _DTYPES[spec.dtype]:
            raise EngineFailed(f"{card.name} gave {name} as {array.dtype}, not as {spec.dtype}")
