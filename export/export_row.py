"""One row, straight through: module, weights, graph, gates, profile, entry."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from export.catalogue.row import Row
from export.classifier import OUTPUTS, as_classifier
from export.external_data import entry_bytes, external_data_result
from export.for_serving import for_serving
from export.located import make_located
from export.optimise import optimise
from export.photographs import seven_pixels
from export.profile import count_flops, profile
from export.reference import Reference, classify_reference
from export.repository import publish, recipe, staging
from export.save import save
from export.sources import Source
from export.steps import Say
from export.to_onnx import to_onnx
from export.upstream import upstream
from export.verified import Verified
from export.verify import Results, verify
from export.weights import Loaded, load
from service.entry_config import write_entry
from service.entry_files import file_sha256, onnx_path
from service.manifest import ModelCard, Profile, TensorSpec


@dataclass(frozen=True, slots=True)
class Measured:
    """What was found out about a graph that is good."""

    outputs: tuple[TensorSpec, ...]
    params: int
    flops: int
    verification: Results
    profile: Profile


def export_row(row: Row, sources: tuple[Source, ...], repository: Path, say: Say) -> ModelCard:
    """The card of the entry that is now in the repository. Raises ExportError; the repository is then as it was.

    say     is told each step of export.steps as it begins
    """
    say("weights")
    loaded = load(row, sources)
    with staging(repository, row.name) as folder:
        measured = _make(row, loaded, folder, say)
        say("publish")
        card = _card(row, loaded, measured, folder)
        write_entry(card, folder)
        for name, file in loaded.files:
            shutil.copyfile(file, folder / name)
        publish(folder, repository, row.name)
    return card


def _make(row: Row, loaded: Loaded, entry: Path, say: Say) -> Measured:
    """Writes the entry's ONNX file, judges it and measures it."""
    graph = make_graph(row, loaded, entry, say)
    say("profile")
    return Measured(
        outputs=graph.outputs,
        params=_params(loaded.module),
        flops=count_flops(graph.module, row.resize.size_hw),
        verification=graph.results,
        profile=profile(onnx_path(entry), graph.reference.pixels),
    )


def make_graph(row: Row, loaded: Loaded, entry: Path, say: Say) -> Verified:
    """Writes the entry's ONNX file and judges it. Raises GraphError or GateFailure."""
    if row.task != "classify":
        return make_located(row, loaded.module, not loaded.weights.trained, entry, say)
    say("reference")
    source = upstream(row)
    reference = classify_reference(loaded.module, row.network.head, source, seven_pixels(source))
    module = for_serving(as_classifier(loaded.module, row.network.head, row.mean, row.std))
    outputs = _outputs(reference)
    say("to ONNX")
    model = to_onnx(module, row.resize.size_hw, OUTPUTS)
    say("optimise")
    save(optimise(model), entry)
    say("verify")
    results = verify(onnx_path(entry), outputs, reference) + external_data_result(entry)
    return Verified(module, reference, outputs, results)


def _outputs(reference: Reference) -> tuple[TensorSpec, ...]:
    """The outputs as the library's own module has them."""
    return tuple(TensorSpec(name, "FP32", reference.float64[name].shape[1:]) for name in OUTPUTS)


def _params(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _card(row: Row, loaded: Loaded, measured: Measured, entry: Path) -> ModelCard:
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
        outputs=measured.outputs,
        label_set=row.label_set,
        label_names=row.label_names,
        # The published figure belongs to the published weights, not to a file of one's own.
        accuracy=row.accuracy if loaded.weights.source in ("package", "hub", "starter") else None,
        weights=loaded.weights,
        params=measured.params,
        flops=measured.flops,
        onnx_sha256=file_sha256(onnx_path(entry)),
        onnx_bytes=entry_bytes(entry),
        verification=measured.verification,
        profile=measured.profile,
        recipe=recipe(row, loaded.source),
    )
