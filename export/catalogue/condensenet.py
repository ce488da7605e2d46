"""CondenseNet: DenseNet that learns which maps each group needs. As deployed: an index and a grouped convolution."""

from __future__ import annotations

from export.catalogue.family import Family

_CONDENSENET = Family(
    "CondenseNet", "CondenseNet: Efficient DenseNet using Learned Group Convolutions (arXiv:1711.09224)", 2017
)

ROWS = (
    _CONDENSENET.pytorchcv(
        "condensenet74_c4_g4", "condensenet74_c4_g4", (4.774, 4.8), head="output.linear", paper_top1=73.8
    ),
    _CONDENSENET.pytorchcv(
        "condensenet74_c8_g8", "condensenet74_c8_g8", (2.935, 2.9), head="output.linear", paper_top1=71.0
    ),
)
