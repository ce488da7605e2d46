"""FP32 entry → INT8 entry beside it, straight through: ranges, graph, gates, profile, entry."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.catalogue.row import Row
from export.located import pictures
from export.photographs import seven_pixels
from export.quantisation.float_graph import float_graph
from export.quantisation.identity import fitting_ranges, int8_name, int8_recipe
from export.quantisation.judge import judge
from export.quantisation.judge_located import judge_located
from export.quantisation.make_ranges import make_ranges
from export.quantisation.profile_beside import profile_beside
from export.quantisation.quantise import quantise
from export.quantisation.ranges import Measured, Ranges, TaskQuality
from export.repository import publish, staging
from export.steps import Say
from export.upstream import upstream
from service.entry_config import read_onnx_entry, write_entry
from service.entry_files import file_sha256, onnx_path
from service.manifest import Accuracy, ModelCard

# Fewer unlabelled pictures than this say nothing about accuracy.
FEWEST_FOR_ACCURACY = 30


def export_int8(row: Row, repository: Path, folder: Path | None, say: Say) -> ModelCard:
    """The card of the INT8 variant now beside the row's FP32 entry. Raises ExportError; nothing has changed then.

    folder  of pictures to calibrate on and be judged by; None: the shipped ranges and what was measured with them
    say     is told each step of export.steps as it begins
    """
    entry = repository / row.name
    fp32, fp32_file = read_onnx_entry(entry), onnx_path(entry)
    pixels = photographs(row)
    graph = float_graph(fp32_file)
    say("calibrate")
    if folder is None:
        ranges = fitting_ranges(fp32)
    else:
        ranges = make_ranges(fp32_file, graph, fp32.weights.sha256, folder, upstream(row))
    with staging(repository, int8_name(row.name)) as made:
        file = onnx_path(made)
        say("quantise")
        quantise(graph, ranges, file)
        say("verify")
        measured = ranges.measured
        if isinstance(measured, TaskQuality):
            verification = judge_located(fp32_file, file, fp32.outputs, measured, pixels)
        else:
            verification = judge(fp32_file, file, fp32.outputs, measured, pixels)
        say("profile")
        card = replace(
            fp32,
            name=int8_name(row.name),
            precision="int8",
            accuracy=accuracy_left(fp32.accuracy, ranges),
            onnx_sha256=file_sha256(file),
            onnx_bytes=file.stat().st_size,
            verification=verification,
            profile=profile_beside(fp32.profile, fp32_file, file, pixels),
            recipe=int8_recipe(fp32, folder),
        )
        say("publish")
        for beside in (*entry.glob("LICENSE*"), *entry.glob("MODEL_CARD*")):
            shutil.copyfile(beside, made / beside.name)
        write_entry(card, made)
        publish(made, repository, card.name)
    return card


def photographs(row: Row) -> NDArray[np.uint8]:
    """(7, H, W, 3): seven photographs as the row's preprocessing makes them."""
    return seven_pixels(upstream(row)) if row.task == "classify" else pictures(row.resize, 7)


def accuracy_left(published: Accuracy | None, ranges: Ranges) -> Accuracy | None:
    """FP32's published figure less what INT8 was seen to lose; gains are luck. None if nothing can be said."""
    measured = ranges.measured
    if published is None or (
        isinstance(measured, Measured) and not measured.labelled and measured.pictures < FEWEST_FOR_ACCURACY
    ):
        return None
    lost = round(measured.lost_points, 2)
    said = f"FP32: {published.source}; minus {lost:g} points: {_what_was_lost(measured)}"
    return replace(published, value=round(published.value - lost, 3), source=said)


def _what_was_lost(measured: Measured | TaskQuality) -> str:
    """The measurement in words, with its size, since one picture more or less is a visible part of it."""
    if isinstance(measured, TaskQuality):
        metric, fp32_percent, int8_percent = measured.scores[0]
        return f"on {measured.pictures} {metric} is {int8_percent:g} with INT8 and {fp32_percent:g} with FP32"
    one = f"{100 / measured.pictures:.2f} points a picture"
    if not measured.labelled:
        changed = measured.pictures - measured.agreeing
        return f"INT8 gave {changed} of {measured.pictures} photographs another class, each counted as lost ({one})"
    return (
        f"on {measured.pictures} held-out photographs INT8 had {measured.int8_right} right and FP32 "
        f"{measured.fp32_right} ({one})"
    )
