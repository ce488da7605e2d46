"""How a family writes its rows: what they share once, what differs on a line each.

ALEXNET = Family("AlexNet", "ImageNet Classification with …", 2012)
ROWS = (ALEXNET.torchvision("alexnet", "classifier.6", crop(224, 256), (61.101, 61.1), 56.522),)
"""

from __future__ import annotations

from dataclasses import dataclass

from export.catalogue.row import IMAGENET_MEAN, IMAGENET_STD, Argument, HubWeights, Network, Rgb, Row
from service.manifest import Accuracy, Interpolation, ResizeRule

HALF: Rgb = (0.5, 0.5, 0.5)
TIMM_RESULTS = "timm, results/results-imagenet.csv"
PYTORCHCV_LIST = "pytorchcv, its list of pretrained models"
# pytorchcv publishes no preprocessing inside the package, only the input's side; this is its evaluation script's.
PYTORCHCV_NOTE = "pytorchcv's evaluation: the picture's shorter side is the input's side / 0.875, bilinear"
PAPER_NOTE = "no library has this network; preprocessing as usual for its data set"

Arguments = tuple[tuple[str, Argument], ...]


@dataclass(frozen=True, slots=True)
class Pixels:
    """How a picture becomes the network's input. `note` says why it is not what the library's metadata says."""

    resize: ResizeRule
    mean: Rgb = IMAGENET_MEAN
    std: Rgb = IMAGENET_STD
    note: str = ""


def crop(size_px: int, shorter_side_px: int, interpolation: Interpolation = "bilinear", note: str = "") -> Pixels:
    """A square out of the middle, normalised by ImageNet's mean and deviation."""
    return Pixels(ResizeRule("crop", (size_px, size_px), interpolation, shorter_side_px), note=note)


def halved(size_px: int, shorter_side_px: int, interpolation: Interpolation = "bicubic", note: str = "") -> Pixels:
    """A square out of the middle, scaled to -1..1."""
    rule = ResizeRule("crop", (size_px, size_px), interpolation, shorter_side_px)
    return Pixels(rule, HALF, HALF, note)


CIFAR = Pixels(
    ResizeRule("crop", (32, 32), "bilinear", 32), (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010), "CIFAR as usual"
)


@dataclass(frozen=True, slots=True)
class Labels:
    """A label set that the service ships."""

    name: str
    classes: int


IMAGENET_LABELS = Labels("imagenet-1k", 1000)
CIFAR_LABELS = Labels("cifar-10", 10)
MNIST_LABELS = Labels("mnist", 10)


@dataclass(frozen=True, slots=True)
class Family:
    """One paper's networks. `millions` is always (parameters counted here, what the paper says or None)."""

    family: str
    paper: str
    year: int

    def torchvision(
        self,
        name: str,
        head: str,
        pixels: Pixels,
        millions: tuple[float, float | None],
        top1_percent: float,
        *,
        tag: str = "IMAGENET1K_V1",
        licence: str = "BSD-3-Clause",
        arguments: Arguments = (),
        paper_top1: float | None = None,
        note: str = "",
    ) -> Row:
        """torchvision's network of that name, with the weights of its enum's member `tag`."""
        weights = HubWeights("torchvision", tag, licence)
        accuracy = Accuracy(top1_percent, "top-1", "imagenet-1k", f"torchvision, {name} {tag}")
        network = Network("torchvision", name, head, arguments)
        return self._row(name, network, pixels, millions, IMAGENET_LABELS, accuracy, (weights,), paper_top1, note)

    def timm(
        self,
        name: str,
        constructor: str,
        head: str,
        pixels: Pixels,
        millions: tuple[float, float | None],
        *,
        tag: str = "",
        top1: float | None = None,
        licence: str = "Apache-2.0",
        arguments: Arguments = (),
        paper_top1: float | None = None,
        note: str = "",
    ) -> Row:
        """timm's network, with the weights of `tag` if anybody published any; top-1 as timm measured it."""
        weights = (HubWeights("timm", tag, licence),) if tag else ()
        accuracy = Accuracy(top1, "top-1", "imagenet-1k", TIMM_RESULTS) if top1 else None
        network = Network("timm", constructor, head, arguments)
        return self._row(name, network, pixels, millions, IMAGENET_LABELS, accuracy, weights, paper_top1, note)

    def pytorchcv(
        self,
        name: str,
        constructor: str,
        millions: tuple[float, float | None],
        *,
        head: str = "output",
        pixels: Pixels | None = None,
        labels: Labels = IMAGENET_LABELS,
        published: bool = True,
        top1: float | None = None,
        arguments: Arguments = (),
        paper_top1: float | None = None,
        note: str = "",
    ) -> Row:
        """pytorchcv's network; `published` if its list has weights under the constructor's name."""
        if pixels is None:
            pixels = CIFAR if labels is CIFAR_LABELS else crop(224, 256, note=PYTORCHCV_NOTE)
        weights = (HubWeights("pytorchcv", constructor, "MIT"),) if published else ()
        accuracy = Accuracy(top1, "top-1", labels.name, PYTORCHCV_LIST) if top1 else None
        network = Network("pytorchcv", constructor, head, arguments)
        return self._row(name, network, pixels, millions, labels, accuracy, weights, paper_top1, note)

    def own(
        self,
        name: str,
        constructor: str,
        millions: tuple[float, float | None],
        *,
        head: str = "head",
        pixels: Pixels | None = None,
        labels: Labels = IMAGENET_LABELS,
        arguments: Arguments = (),
        paper_top1: float | None = None,
        note: str = "",
    ) -> Row:
        """A network of export.architectures. Nobody publishes weights for it."""
        if pixels is None:
            pixels = CIFAR if labels is CIFAR_LABELS else crop(224, 256, note=PAPER_NOTE)
        network = Network("own", constructor, head, arguments)
        return self._row(name, network, pixels, millions, labels, None, (), paper_top1, note)

    def _row(
        self,
        name: str,
        network: Network,
        pixels: Pixels,
        millions: tuple[float, float | None],
        labels: Labels,
        accuracy: Accuracy | None,
        weights: tuple[HubWeights, ...],
        paper_top1: float | None,
        note: str,
    ) -> Row:
        ours, papers = millions
        return Row(
            name=name,
            family=self.family,
            paper=self.paper,
            year=self.year,
            task="classify",
            network=network,
            resize=pixels.resize,
            mean=pixels.mean,
            std=pixels.std,
            classes=labels.classes,
            label_set=labels.name,
            params_millions=ours,
            paper_params_millions=papers,
            accuracy=accuracy,
            weights=weights,
            preprocessing_note=pixels.note,
            params_note=note,
            paper_top1_percent=paper_top1,
        )
