"""What detect and segment make of a model's outputs, on a worker thread: answers' parts, or the picture drawn on."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service import drawing
from service.ask import Finish, Raw
from service.images import to_upright
from service.label_sets import label_names
from service.masks import MapRuns, Mask, map_runs, png_of_map, png_of_mask, polygons, rle_counts
from service.prior_times import Post
from service.schemas import Box, FindQuery, LabelBox, MaskFormat, Rle, Segment, SegmentQuery
from service.tasks.detect import Detection, Wanted, class_ids, find
from service.tasks.segment import UNSEEN, check_classes, map_to_image, paste_masks

# What the client takes: JSON, the map itself as a PNG, or the picture drawn on.
View = Literal["json", "png", "overlay-jpeg", "overlay-png"]
_MOST_IN_A_MAP = 255


@dataclass(frozen=True, slots=True)
class Pictured:
    """An answer that is a picture."""

    data: bytes
    media_type: str


@dataclass(frozen=True, slots=True)
class Segments:
    """What a SegmentAnswer holds beside what every answer holds. Maps are base64 of PNGs."""

    predictions: list[Segment]
    class_map: str | None = None
    segment_map: str | None = None


@dataclass(frozen=True, slots=True)
class _Maps:
    """(H, W) of the picture: a class for every pixel, and a segment too where the model tells segments apart."""

    classes: NDArray[np.uint8]
    segments: NDArray[np.uint8] | None
    class_of_segment: dict[int, int]


def detect_finish(query: FindQuery, view: View) -> Finish:
    """Gives list[LabelBox], or Pictured for an overlay."""

    def run(raw: Raw) -> list[LabelBox] | Pictured:
        found = _found(raw, query)
        if view == "json":
            return [LabelBox(label=f.label, class_id=f.class_id, score=f.score, box=_box(f.box)) for f in found]
        colours = [drawing.colour_of(f.class_id) for f in found]
        upright = to_upright(raw.picture.data, raw.header, field=raw.picture.field)
        return _encoded(drawing.draw_detections(upright, found, colours), view)

    return Finish("boxes" if view == "json" else "overlay", run)


def segment_finish(query: SegmentQuery, kind: str, view: View) -> Finish:
    """Gives Segments, or Pictured for an overlay and for a bare PNG."""
    of_things = kind == "instance"
    finish: Callable[[Raw, SegmentQuery, View], Segments | Pictured] = _finish_things if of_things else _finish_maps
    post: Post = "masks" if of_things else "map"
    if view.startswith("overlay"):
        post = "overlay"
    elif query.mask_format == "png":
        post = "png"
    elif query.mask_format == "polygon":
        post = "polygons"
    return Finish(post, lambda raw: finish(raw, query, view))


def _found(raw: Raw, query: FindQuery) -> list[Detection]:
    names = label_names(raw.card)
    wanted = Wanted(query.score_threshold, query.max_detections, class_ids(query.classes, names, raw.card.name))
    return find(raw.arrays, raw.geometry, names, wanted)


# --- things


def _finish_things(raw: Raw, query: SegmentQuery, view: View) -> Segments | Pictured:
    found = _found(raw, query)
    if view == "json":
        masks = _in_time(paste_masks(raw.arrays, raw.geometry, found), raw)
        return Segments([_thing(f, m, query.mask_format) for f, m in zip(found, masks, strict=True)])
    # The surest is drawn last, so it comes out on top.
    shown = list(reversed(found[:_MOST_IN_A_MAP] if view == "png" else found))
    masks = _in_time(paste_masks(raw.arrays, raw.geometry, shown), raw)
    if view == "png":
        return Pictured(_png_of_things(masks, len(shown), raw.geometry.image_hw), "image/png")
    colours = [drawing.colour_of(i) for i in range(len(found))]  # neighbours of one class must be told apart
    upright = to_upright(raw.picture.data, raw.header, field=raw.picture.field)
    painted = drawing.paint_masks(upright, zip(masks, reversed(colours), strict=True))
    return _encoded(drawing.draw_detections(painted, found, colours), view)


def _in_time(masks: Iterator[Mask], raw: Raw) -> Iterator[Mask]:
    """Each mask once it is known that somebody still waits: on a large picture fifty of them take seconds."""
    for mask in masks:
        yield mask
        del mask
        raw.require_time()


def _thing(found: Detection, mask: Mask, mask_format: MaskFormat) -> Segment:
    return Segment(
        label=found.label,
        class_id=found.class_id,
        score=found.score,
        box=_box(found.box),
        area_px=mask.area_px,
        rle=Rle(size=mask.image_hw, counts=rle_counts(mask)) if mask_format == "rle" else None,
        polygons=polygons(mask) if mask_format == "polygon" else None,
        png=_base64(png_of_mask(mask)) if mask_format == "png" else None,
    )


def _png_of_things(masks: Iterable[Mask], count: int, image_hw: tuple[int, int]) -> bytes:
    """0 where nothing is, k where the k-th thing is; the masks come from the last thing to the first, the surest."""
    values = np.zeros(image_hw, np.uint8)
    for number, mask in zip(range(count, 0, -1), masks, strict=True):
        (top, left), (height, width) = mask.top_left, mask.pixels.shape
        values[top : top + height, left : left + width][mask.pixels] = number
    return png_of_map(values, drawing.palette_of_segments(count))


# --- maps


def _finish_maps(raw: Raw, query: SegmentQuery, view: View) -> Segments | Pictured:
    names = label_names(raw.card)
    maps = _maps(raw, class_ids(query.classes, names, raw.card.name))
    if view.startswith("overlay"):
        upright = to_upright(raw.picture.data, raw.header, field=raw.picture.field)
        painted = drawing.paint_map(upright, maps.classes, len(names))
        present = [value for value in map_runs(maps.classes).present() if value != UNSEEN]
        legend = [(names[value], drawing.colour_of(value)) for value in present]
        return _encoded(drawing.draw_legend(painted, legend), view)
    class_png, segment_png = _map_pngs(maps, len(names)) if query.mask_format == "png" else (None, None)
    if view == "png":
        return Pictured(segment_png or class_png or b"", "image/png")
    return Segments(
        _segments(maps, names, query.mask_format),
        _base64(class_png) if class_png else None,
        _base64(segment_png) if segment_png else None,
    )


def _maps(raw: Raw, wanted: frozenset[int] | None) -> _Maps:
    """Classes that are not wanted count as unseen. All judging is done on the small maps: the picture's may be huge."""
    small = raw.arrays["class_map"]
    check_classes(small, label_names(raw.card))
    if wanted is not None:
        small = np.where(np.isin(small, list(wanted)), small, UNSEEN)
    classes = map_to_image(small, raw.geometry, UNSEEN)
    if "segment_map" not in raw.arrays:
        return _Maps(classes, None, {})
    numbers = np.where(small == UNSEEN, 0, raw.arrays["segment_map"])
    segments = map_to_image(numbers, raw.geometry, 0)
    pair_numbers = numbers.astype(np.intp) * 256 + small.astype(np.intp)
    pairs = np.bincount(pair_numbers.ravel(), minlength=256 * 256).reshape(256, 256)
    class_of = {int(i): int(pairs[i].argmax()) for i in np.flatnonzero(pairs.any(axis=1)) if i != 0}
    return _Maps(classes, segments, class_of)


def _segments(maps: _Maps, names: tuple[str, ...], mask_format: MaskFormat) -> list[Segment]:
    """Of a panoptic map its segments, of a semantic one the classes that occur; largest first."""
    values = maps.classes if maps.segments is None else maps.segments
    nothing = UNSEEN if maps.segments is None else 0
    runs = map_runs(values)
    areas = {value: runs.area_px(value) for value in runs.present() if value != nothing}
    ordered = sorted(areas, key=lambda value: (-areas[value], value))
    return [
        _segment(values, runs, value, maps.class_of_segment.get(value, value), names, mask_format) for value in ordered
    ]


def _segment(
    values: NDArray[np.uint8], runs: MapRuns, value: int, class_id: int, names: tuple[str, ...], mask_format: MaskFormat
) -> Segment:
    left, top, right, bottom = runs.box(value)
    rings = None
    if mask_format == "polygon":
        rings = polygons(Mask(runs.image_hw, (top, left), values[top:bottom, left:right] == value))
    return Segment(
        label=names[class_id],
        class_id=class_id,
        box=_box((left, top, right, bottom)),
        area_px=runs.area_px(value),
        rle=Rle(size=runs.image_hw, counts=runs.rle_counts(value)) if mask_format == "rle" else None,
        polygons=rings,
        map_value=value if mask_format == "png" else None,
    )


def _map_pngs(maps: _Maps, classes: int) -> tuple[bytes, bytes | None]:
    class_png = png_of_map(maps.classes, drawing.palette(classes))
    if maps.segments is None:
        return class_png, None
    return class_png, png_of_map(maps.segments, drawing.palette_of_segments(int(maps.segments.max())))


def _encoded(image: Image.Image, view: View) -> Pictured:
    return Pictured(*drawing.encode(image, "PNG" if view == "overlay-png" else "JPEG"))


def _box(xyxy: tuple[float, float, float, float]) -> Box:
    left, top, right, bottom = (round(float(edge), 3) for edge in xyxy)
    return Box(xmin=left, ymin=top, xmax=right, ymax=bottom)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
