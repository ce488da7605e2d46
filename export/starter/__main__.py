"""`python -m export.starter train|evaluate detect|segment|instance [--data DIR]`."""

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from export.starter.detect_head import DetectConfig
from export.starter.evaluate import people_precision, scene_overlap
from export.starter.fit import Schedule
from export.starter.models import (
    DETECT,
    INSTANCE,
    PEOPLE_SIZES_HW,
    SCENE_SIZES_HW,
    SEGMENT,
    detect_module,
    instance_module,
    segment_module,
)
from export.starter.pictures import camvid, camvid_classes, penn_fudan
from export.starter.places import HEADS, pictures_folder
from export.starter.segment_head import SegmentConfig
from export.starter.train_detect import train_detect
from export.starter.train_instance import train_instance
from export.starter.train_segment import SegmentCost, train_segment

SCHEDULES = {
    "detect": Schedule(epochs=5),
    "segment": Schedule(epochs=6, thaw=3, tail_rate=0.2),
    "instance": Schedule(epochs=2, rate=3e-3),
}
MASK_WIDTH = 48


def write_head(head: nn.Module, path: Path, config: dict[str, object]) -> None:
    """Writes the head's tensors as float16 safetensors with its configuration as metadata."""
    tensors = {
        name: (t.half() if t.dtype.is_floating_point else t).contiguous() for name, t in head.state_dict().items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, {"config": json.dumps(config)})
    print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB")


def train(task: str, folder: Path, schedule: Schedule, heads: Path) -> None:
    """Trains one head and writes it."""
    if task == "detect":
        detect = DetectConfig()
        write_head(train_detect(folder, detect, schedule), heads / f"{DETECT}.safetensors", asdict(detect))
    elif task == "segment":
        segment = SegmentConfig()
        scenes = train_segment(folder, segment, schedule, SegmentCost())
        write_head(scenes, heads / f"{SEGMENT}.safetensors", asdict(segment))
    else:
        # only to report on: the masks are learned from true boxes
        detector = detect_module(heads=heads).head if (heads / f"{DETECT}.safetensors").exists() else None
        head = train_instance(folder, detector, MASK_WIDTH, schedule)
        config: dict[str, object] = {"width": MASK_WIDTH}
        write_head(head, heads / f"{INSTANCE}.safetensors", config)


def evaluate(task: str, folder: Path, heads: Path) -> None:
    """Prints the shipped head's quality at its three input sizes."""
    torch.set_num_threads(min(2, torch.get_num_threads()))
    if task == "segment":
        for size_hw in SCENE_SIZES_HW:
            miou, overlap = scene_overlap(segment_module(size_hw, heads), camvid(folder, "val"), size_hw)
            each = ", ".join(f"{n} {v:.3f}" for n, v in zip(camvid_classes(folder), overlap, strict=True))
            print(f"{size_hw}: CamVid val (101 frames) mIoU {miou:.4f}; {each}", flush=True)
        return
    _, held_out = penn_fudan(folder)
    for size_hw in PEOPLE_SIZES_HW:
        model = detect_module(size_hw, heads=heads) if task == "detect" else instance_module(size_hw, heads=heads)
        boxes, masks = people_precision(model, held_out, size_hw)
        print(f"{size_hw}: Penn-Fudan held out ({len(held_out)} pictures) boxes {boxes}", flush=True)
        if task == "instance":
            print(f"{size_hw}: Penn-Fudan held out ({len(held_out)} pictures) masks {masks}", flush=True)


def main() -> None:
    """Parses the command line."""
    parser = argparse.ArgumentParser(prog="python -m export.starter", description=__doc__)
    parser.add_argument("action", choices=["train", "evaluate"])
    parser.add_argument("task", choices=["detect", "segment", "instance"])
    parser.add_argument("--data", type=Path, help="folder with pennfudan/, coco128/, camvid/ (default: $VISION_DATA)")
    parser.add_argument("--heads", type=Path, default=HEADS, help="folder of the safetensors")
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    try:
        folder = pictures_folder(given.data)
    except FileNotFoundError as err:
        parser.error(str(err))
    if given.action == "evaluate":
        evaluate(given.task, folder, given.heads)
        return
    schedule = replace(SCHEDULES[given.task], seed=given.seed)
    train(given.task, folder, replace(schedule, epochs=given.epochs or schedule.epochs), given.heads)


if __name__ == "__main__":
    main()
