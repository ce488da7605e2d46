"""A starter row's own weights: the shipped heads, checked, on the backbone out of its Python package."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from export.catalogue.row import Row, StarterWeights
from export.errors import WeightsError
from export.starter.backbone import fetch_weights, package
from export.starter.models import detect_module, instance_module, segment_module
from export.starter.places import HEADS
from service.entry_files import file_sha256
from service.manifest import Weights


def starter_module(row: Row, source: StarterWeights) -> nn.Module:
    """The row's model. Raises WeightsError for a head that is not the one whose quality the catalogue states, and
    SourceUnreachable if the backbone cannot be had."""
    for name, sha256 in source.heads:
        path = HEADS / name
        if not path.is_file() or file_sha256(path) != sha256:
            raise WeightsError(f"{name} is missing, or is not the one whose quality the catalogue states.")
    fetch_weights()
    match row.network.constructor:
        case "detect":
            return detect_module(row.resize.size_hw)
        case "instance":
            return instance_module(row.resize.size_hw)
        case "segment":
            return segment_module(row.resize.size_hw)
    raise ValueError(f"there is no starter model {row.network.constructor!r}. This is a bug.")


def starter_record(source: StarterWeights) -> Weights:
    """What the card says of them."""
    files = " + ".join(name for name, _ in source.heads)
    backbone = f"{package().distribution}=={package().version}"
    return Weights("starter", f"{files} on {backbone}", source.licence, source.heads[0][1])


def model_card(source: StarterWeights) -> Path:
    """The model card of the head that the entry is named for."""
    return (HEADS / source.heads[0][0]).with_suffix(".md")
