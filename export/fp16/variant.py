"""FP32 entry → FP16 entry beside it, straight through: graph, gates, profile, entry."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from export.catalogue.row import Row
from export.external_data import entry_bytes
from export.fp16.convert import convert
from export.fp16.crops import CROPS, crops
from export.fp16.identity import fp16_name, fp16_recipe
from export.fp16.judge import judge
from export.quantisation.profile_beside import profile_beside
from export.repository import publish, staging
from export.steps import Say
from export.upstream import upstream
from service.entry_config import read_onnx_entry, write_entry
from service.entry_files import file_sha256, onnx_path
from service.manifest import Accuracy, ModelCard


def export_fp16(row: Row, repository: Path, say: Say) -> ModelCard:
    """The card of the FP16 variant now beside the row's FP32 entry. Raises ExportError; nothing has changed then.

    say     is told each step of export.steps as it begins
    """
    entry = repository / row.name
    fp32, fp32_file = read_onnx_entry(entry), onnx_path(entry)
    with staging(repository, fp16_name(row.name)) as made:
        file = onnx_path(made)
        say("to FP16")
        convert(fp32_file, file)
        say("verify")
        pixels = crops(upstream(row))
        verification, changed = judge(fp32_file, file, fp32.outputs, pixels)
        say("profile")
        card = replace(
            fp32,
            name=fp16_name(row.name),
            precision="fp16",
            accuracy=accuracy_left(fp32.accuracy, changed),
            onnx_sha256=file_sha256(file),
            onnx_bytes=entry_bytes(made),
            verification=verification,
            profile=profile_beside(fp32.profile, fp32_file, file, pixels[:1]),
            recipe=fp16_recipe(fp32),
        )
        say("publish")
        for licence in entry.glob("LICENSE*"):
            shutil.copyfile(licence, made / licence.name)
        write_entry(card, made)
        publish(made, repository, card.name)
    return card


def accuracy_left(published: Accuracy | None, changed: int) -> Accuracy | None:
    """FP32's published figure; every crop that got another class counts as lost."""
    if published is None or not changed:
        return published
    lost = round(100 * changed / CROPS, 2)
    said = f"FP32: {published.source}; minus {lost:g} points: FP16 gave {changed} of {CROPS} crops another class"
    return replace(published, value=round(published.value - lost, 3), source=said)
