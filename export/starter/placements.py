"""One picture, many views of it: scaled, shifted, flipped, recoloured onto a canvas of fixed size."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance

from export.starter.pictures import CROWD, Pixels

GREY = 114  # what lies outside the picture; the letterbox of a request is the same grey
_FILTERS = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.BOX)


@dataclass(frozen=True)
class Recipe:
    """How views are drawn; scales are relative to the picture letterboxed into the canvas."""

    canvas_hw: tuple[int, int]
    scale: tuple[float, float]
    stretch: float  # largest change of the aspect ratio, 0.15 = up to 15 %
    colour: float  # largest change of brightness, contrast and saturation
    outside: int  # what the label map says outside the picture


def draw_view(image: Pixels, labels: Pixels, recipe: Recipe, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
    """A random view: ((H, W, 3) uint8 image, (H, W) uint8 labels) on the recipe's canvas."""
    height, width = recipe.canvas_hw
    fit = min(height / image.shape[0], width / image.shape[1])
    scale = fit * float(np.exp(rng.uniform(*np.log(recipe.scale))))
    stretch = float(np.exp(rng.uniform(-recipe.stretch, recipe.stretch) / 2))
    size_wh = (
        max(8, round(image.shape[1] * scale * stretch)),
        max(8, round(image.shape[0] * scale / stretch)),
    )
    left, top = (_offset(room, length, rng) for room, length in zip((width, height), size_wh, strict=True))
    resample = _FILTERS[int(rng.integers(len(_FILTERS)))]
    picture = _recolour(Image.fromarray(image).resize(size_wh, resample), recipe.colour, rng)
    canvas = Image.new("RGB", (width, height), (GREY, GREY, GREY))
    canvas.paste(picture, (left, top))
    marks = Image.new("L", (width, height), recipe.outside)
    marks.paste(Image.fromarray(labels).resize(size_wh, Image.Resampling.NEAREST), (left, top))
    view, view_labels = np.asarray(canvas), np.asarray(marks)
    if rng.random() < 0.5:
        view, view_labels = view[:, ::-1], view_labels[:, ::-1]
    return np.ascontiguousarray(view), np.ascontiguousarray(view_labels)


def _offset(room: int, length: int, rng: np.random.Generator) -> int:
    """Anywhere inside when there is room; when there is none, a crop that stays within the picture."""
    slack = room - length
    return int(rng.integers(min(0, slack), max(0, slack) + 1))


def _recolour(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhance(image).enhance(float(rng.uniform(1 - strength, 1 + strength)))
    return image


def paste_person(
    view: tuple[Pixels, Pixels], donor: tuple[Pixels, Pixels], rng: np.random.Generator
) -> tuple[Pixels, Pixels]:
    """The view with one person of the donor cut out and put somewhere else, in front of what is there.

    Both are (image, people map); the person gets the first free number of the view's map.
    Source: Ghiasi et al. 2021, "Simple Copy-Paste", section 3.
    """
    image, people = view[0].copy(), view[1].copy()
    present = [k for k in np.unique(donor[1]) if 0 < k < CROWD]
    if not present:
        return image, people
    rows, columns = np.nonzero(donor[1] == rng.choice(present))
    height, width = people.shape
    down = int(rng.integers(-rows.min(), height - rows.max()))
    right = int(rng.integers(-columns.min(), width - columns.max()))
    numbers = people[people < CROWD]
    image[rows + down, columns + right] = donor[0][rows, columns]
    people[rows + down, columns + right] = int(numbers.max(initial=0)) + 1
    return image, people


def letterbox(image: Pixels, canvas_hw: tuple[int, int]) -> tuple[Pixels, float, tuple[int, int]]:
    """(canvas uint8, scale, (left, top)): the whole picture, centred, never enlarged beyond the canvas."""
    scale = min(canvas_hw[0] / image.shape[0], canvas_hw[1] / image.shape[1])
    size_wh = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    left, top = (canvas_hw[1] - size_wh[0]) // 2, (canvas_hw[0] - size_wh[1]) // 2
    canvas = Image.new("RGB", (canvas_hw[1], canvas_hw[0]), (GREY, GREY, GREY))
    canvas.paste(Image.fromarray(image).resize(size_wh, Image.Resampling.BILINEAR), (left, top))
    return np.array(canvas), scale, (left, top)


def boxes_of(people: Pixels) -> tuple[Pixels, np.ndarray[tuple[int, int], np.dtype[np.float32]]]:
    """(numbers (G,) uint8, boxes (G, 4) float32 xyxy px): the extents of everybody in the map, crowds as 255."""
    numbers = np.unique(people)
    numbers = numbers[numbers > 0]
    boxes = np.zeros((len(numbers), 4), np.float32)
    for row, number in enumerate(numbers):
        mine = people == number
        ys, xs = np.nonzero(mine.any(1))[0], np.nonzero(mine.any(0))[0]
        boxes[row] = (xs[0], ys[0], xs[-1] + 1, ys[-1] + 1)
    return numbers, boxes
