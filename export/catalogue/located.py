"""How a family of detectors or segmenters writes its rows: what they share once, what differs on a line each."""

from __future__ import annotations

from dataclasses import dataclass

from export.catalogue.family import Arguments, Labels, Pixels
from export.catalogue.row import HubWeights, Library, Network, Row
from service.manifest import Accuracy, ResizeRule, SegmentKind

COCO = Labels("coco", 80)
COCO_PANOPTIC = Labels("coco-panoptic", 133)
VOC = Labels("voc", 20)
VOC_SEGMENTATION = Labels("voc-segmentation", 21)
ADE20K = Labels("ade20k", 150)

# Detectors of the library's full frame: a picture would take several of them seconds each on one thread.
REDUCED = (
    "the library scales the shorter side to {} px, the longer one to at most {}; here a square that a CPU can afford"
)


def squash(side_px: int, note: str = "") -> Pixels:
    """Both sides stretched, ImageNet's mean and deviation."""
    return Pixels(ResizeRule("squash", (side_px, side_px)), note=note)


def letterbox(side_px: int, note: str = "") -> Pixels:
    """The longer side fits, ImageNet's mean and deviation."""
    return Pixels(ResizeRule("letterbox", (side_px, side_px)), note=note)


@dataclass(frozen=True, slots=True)
class OwnLabels:
    """Classes that are no set the service ships."""

    names: tuple[str, ...]

    @property
    def labels(self) -> Labels:
        return Labels("own", len(self.names))


def own_labels(*names: str) -> OwnLabels:
    return OwnLabels(names)


@dataclass(frozen=True, slots=True)
class Quality:
    """As published: percent, of which metric on which data, according to whom."""

    value: float
    metric: str
    dataset: str
    source: str


@dataclass(frozen=True, slots=True)
class LocatedFamily:
    """One paper's networks. `millions` is always (parameters counted here, what the paper says or None).

    kind    None: a detector
    """

    family: str
    paper: str
    year: int
    library: Library
    labels: Labels
    kind: SegmentKind | None = None

    def row(
        self,
        name: str,
        head: str,
        pixels: Pixels,
        millions: tuple[float, float | None],
        *,
        constructor: str = "",
        arguments: Arguments = (),
        labels: Labels | None = None,
        quality: Quality | None = None,
        tag: str = "",
        licence: str = "BSD-3-Clause",
        note: str = "",
        traced: bool = False,
        pictures: int = 3,
        batch: int = 8,
        family: str = "",
        label_names: tuple[str, ...] = (),
    ) -> Row:
        """One network; with published weights if there is a `tag`."""
        ours, papers = millions
        labels = labels or self.labels
        return Row(
            name=name,
            family=family or self.family,
            paper=self.paper,
            year=self.year,
            task="segment" if self.kind else "detect",
            network=Network(self.library, constructor or name, head, arguments),
            resize=pixels.resize,
            mean=pixels.mean,
            std=pixels.std,
            classes=labels.classes,
            label_set=labels.name,
            label_names=label_names,
            params_millions=ours,
            paper_params_millions=papers,
            accuracy=Accuracy(quality.value, quality.metric, quality.dataset, quality.source) if quality else None,
            weights=(HubWeights(self.library, tag, licence),) if tag else (),
            preprocessing_note=pixels.note,
            params_note=note,
            segment_kind=self.kind,
            exporter="trace" if traced else "capture",
            gate_pictures=pictures,
            batch_limit=batch,
        )


def torchvision_ap(name: str, ap: float, metric: str = "AP") -> Quality:
    """The figure in torchvision's own metadata."""
    return Quality(ap, metric, "coco-val2017", f"torchvision, {name} COCO_V1")
