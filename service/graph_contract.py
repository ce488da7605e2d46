"""What every graph looks like from outside: its outputs by task."""

from __future__ import annotations

from service.manifest import SegmentKind, Task


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
