"""FP32 entry → INT8 entry beside it, straight through: ranges, graph, gates, profile, entry."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from export.catalogue.row import Row
from export.photographs import seven_pixels
from export.quantisation.float_graph import float_graph
from export.quantisation.identity import fitting_ranges, int8_name, int8_recipe
from export.quantisation.judge import judge
from export.quantisation.make_ranges import make_ranges
from export.quantisation.profile_beside import profile_beside
from export.quantisation.quantise import quantise
from export.quantisation.ranges import Measured, Ranges
from export.repository import publish, staging
from export.steps import Say
from export.upstream import upstream
from service.manifest import Accuracy, ModelCard, file_sha256, onnx_path, read_onnx_entry, write_entry

# Fewer unlabelled pictures than this say nothing about accuracy.
FEWEST_FOR_ACCURACY = 30


def export_int8(row: Row, repository: Path, folder: Path | None, say: Say) -> ModelCard:
    """The card of the INT8 variant now beside the row's FP32 entry. Raises ExportError; nothing has changed then.

    folder  of pictures to calibrate on and be judged by; None: the shipped ranges and what was measured with them
    say     is told each step of export.steps as it begins
    """
    entry = repository / row.name
    fp32, fp32_file = read_onnx_entry(entry), onnx_path(entry)
    source = upstream(row)
    pixels = seven_pixels(source)
    graph = float_graph(fp32_file)
    say("calibrate")
    if folder is None:
        ranges = fitting_ranges(fp32)
    else:
        ranges = make_ranges(fp32_file, graph, fp32.weights.sha256, folder, source)
    with staging(repository, int8_name(row.name)) as made:
        file = onnx_path(made)
        say("quantise")
        quantise(graph, ranges, file)
        say("verify")
        verification = judge(fp32_file, file, fp32.outputs, ranges.measured, pixels)
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
        for licence in entry.glob("LICENSE*"):
            shutil.copyfile(licence, made / licence.name)
        write_entry(card, made)
        publish(made, repository, card.name)
    return card


def accuracy_left(published: Accuracy | None, ranges: Ranges) -> Accuracy | None:
    """FP32's published figure less what INT8 was seen to lose; gains are luck. None if nothing can be said."""
    measured = ranges.measured
    if published is None or (not measured.labelled and measured.pictures < FEWEST_FOR_ACCURACY):
        return None
    lost = round(measured.lost_points, 2)
    said = f"FP32: {published.source}; minus {lost:g} points: {_what_was_lost(measured)}"
    return replace(published, value=round(published.value - lost, 3), source=said)


def _what_was_lost(measured: Measured) -> str:
    """The measurement in words, with its size, since one picture more or less is a visible part of it."""
    one = f"{100 / measured.pictures:.2f} points a picture"
    if not measured.labelled:
        changed = measured.pictures - measured.agreeing
        return f"INT8 gave {changed} of {measured.pictures} photographs another class, each counted as lost ({one})"
    return (
        f"on {measured.pictures} held-out photographs INT8 had {measured.int8_right} right and FP32 "
        f"{measured.fp32_right} ({one})"
    )
