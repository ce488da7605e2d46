"""COCO's class ids: papers number 91 (or 200) categories, of which 80 things and 53 kinds of stuff are annotated.

Source: cocodataset/panopticapi, panoptic_coco_categories.json; torchvision's weights metadata has the things.
"""

from __future__ import annotations

# The ids 1..90 that are a thing; the others were dropped before the data set was published. In the order of `coco`.
_DROPPED = frozenset({12, 26, 29, 30, 45, 66, 68, 69, 71, 83})
THING_IDS = tuple(i for i in range(1, 91) if i not in _DROPPED)
# Stuff of the panoptic challenge; with THING_IDS before it in the order of `coco-panoptic`.
STUFF_IDS = (
    *(92, 93, 95, 100, 107, 109, 112, 118, 119, 122, 125, 128, 130, 133, 138, 141, 144, 145, 147, 148, 149, 151, 154),
    *(155, 156, 159, 161, 166, 168, 171, 175, 176, 177, 178, 180, 181, *range(184, 201)),
)
PANOPTIC_IDS = THING_IDS + STUFF_IDS
THINGS, STUFF = len(THING_IDS), len(STUFF_IDS)


def unused(channels: int, ids: tuple[int, ...], background: tuple[int, ...] = ()) -> tuple[int, ...]:
    """Those of `channels` class channels that stand for neither a class nor the background."""
    return tuple(sorted(set(range(channels)) - set(ids) - set(background)))


def repeated(channels: tuple[int, ...], classes: int, anchors: int) -> tuple[int, ...]:
    """The same channels of a layer that holds the classes once per anchor."""
    return tuple(anchor * classes + channel for anchor in range(anchors) for channel in channels)
