"""All rows, by name. A family is in the catalogue because it is listed here, not because somebody imported it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from export.catalogue import (
    alexnet,
    bit,
    condensenet,
    densenet,
    detectors,
    efficientnet,
    efficientnet_lite,
    effnet,
    fbnet,
    highway,
    inception,
    lenet,
    mnasnet,
    mobilenet_v1,
    mobilenet_v2,
    mobilenet_v3,
    nin,
    own_located,
    resnet,
    segmenters,
    segmenters_more,
    senet,
    shufflenet,
    squeezenet,
    starter,
    transformers_located,
    vgg,
    vit,
    yolo,
)
from export.catalogue.row import Row
from export.errors import UnknownRow

# In the order of the history.
FAMILIES: tuple[tuple[Row, ...], ...] = (
    lenet.ROWS,
    alexnet.ROWS,
    nin.ROWS,
    vgg.ROWS,
    inception.ROWS,
    highway.ROWS,
    resnet.ROWS,
    densenet.ROWS,
    bit.ROWS,
    squeezenet.ROWS,
    mobilenet_v1.ROWS,
    mobilenet_v2.ROWS,
    effnet.ROWS,
    shufflenet.ROWS,
    condensenet.ROWS,
    senet.ROWS,
    mnasnet.ROWS,
    fbnet.ROWS,
    mobilenet_v3.ROWS,
    efficientnet.ROWS,
    efficientnet_lite.ROWS,
    vit.ROWS,
    detectors.ROWS,
    segmenters.ROWS,
    yolo.ROWS,
    segmenters_more.ROWS,
    own_located.ROWS,
    transformers_located.ROWS,
    starter.ROWS,
)

# What `vision-export --default` makes: these always, and the second group where their hub answers.
DEFAULT_NAMES = (
    *("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2", "mobilenet_v2"),
    *(row.name for row in starter.ROWS),
)
HUB_DEFAULT_NAMES = ("efficientnet_b0", "resnet50")
# Those whose INT8 calibration ranges ship with the project: classifiers, and heads.
CALIBRATED_HEADS = tuple(row.name for row in starter.ROWS)
CALIBRATED_NAMES = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2", "mobilenet_v2")


def by_name(rows: Iterable[Row]) -> Mapping[str, Row]:
    """Name → row, in the given order. Raises ValueError if a name comes twice."""
    out: dict[str, Row] = {}
    for row in rows:
        if row.name in out:
            raise ValueError(f"the catalogue lists {row.name!r} twice")
        out[row.name] = row
    return MappingProxyType(out)


CATALOGUE = by_name(row for family in FAMILIES for row in family)


def find(name: str) -> Row:
    """The row of that name. Raises UnknownRow, suggesting close names."""
    if name in CATALOGUE:
        return CATALOGUE[name]
    close = difflib.get_close_matches(name, CATALOGUE, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else "`vision-export --list` shows all names."
    raise UnknownRow(f"{name!r} is not in the catalogue: {hint}")
