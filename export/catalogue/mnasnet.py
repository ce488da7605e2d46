"""MnasNet: found by a search that runs its candidates on a phone. A1 and A2 have squeeze-and-excitation, B1 has not.

A2 is missing: the paper draws A1 only, and no list of A2's layers is published.
"""

from __future__ import annotations

from export.catalogue.family import Family, crop

_MNASNET = Family("MnasNet", "MnasNet: Platform-Aware Neural Architecture Search for Mobile (arXiv:1807.11626)", 2018)
_BICUBIC = crop(224, 256, "bicubic")
_V1, _LATER = crop(224, 256), crop(224, 232)

ROWS = (
    _MNASNET.timm(
        "mnasnet_a1",
        "semnasnet_100",
        "classifier",
        _BICUBIC,
        (3.887, 3.9),
        tag="rmsp_in1k",
        top1=75.450,
        paper_top1=75.2,
    ),
    _MNASNET.timm("mnasnet_a1_050", "semnasnet_050", "classifier", _BICUBIC, (2.082, None)),
    _MNASNET.timm(
        "mnasnet_a1_075", "semnasnet_075", "classifier", _BICUBIC, (2.912, None), tag="rmsp_in1k", top1=72.992
    ),
    _MNASNET.timm("mnasnet_a1_140", "semnasnet_140", "classifier", _BICUBIC, (6.106, None)),
    _MNASNET.torchvision("mnasnet0_5", "classifier.1", _V1, (2.219, None), 67.734),
    _MNASNET.torchvision("mnasnet0_75", "classifier.1", _LATER, (3.170, None), 71.180),
    _MNASNET.torchvision("mnasnet1_0", "classifier.1", _V1, (4.383, 4.4), 73.456, paper_top1=74.5),
    _MNASNET.torchvision("mnasnet1_3", "classifier.1", _LATER, (6.282, None), 76.506),
    _MNASNET.timm("mnasnet_140", "mnasnet_140", "classifier", _BICUBIC, (7.116, None)),
    _MNASNET.timm(
        "mnasnet_small", "mnasnet_small", "classifier", _BICUBIC, (2.030, None), tag="lamb_in1k", top1=66.196
    ),
)
