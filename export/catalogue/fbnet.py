"""FBNet: a layer's block chosen by gradient descent."""

from __future__ import annotations

from export.catalogue.family import Family, crop

_FBNET = Family(
    "FBNet", "FBNet: Hardware-Aware Efficient ConvNet Design via Differentiable NAS (arXiv:1812.03443)", 2018
)

ROWS = (
    _FBNET.own("fbnet_a", "fbnet_a", (4.321, 4.3), paper_top1=73.0),
    _FBNET.own("fbnet_b", "fbnet_b", (4.863, 4.5), paper_top1=74.1, note="the authors' later code, counted, has 4.86"),
    _FBNET.timm(
        "fbnet_c",
        "fbnetc_100",
        "classifier",
        crop(224, 256),
        (5.572, 5.5),
        tag="rmsp_in1k",
        top1=75.130,
        paper_top1=74.9,
        note="the paper says 5.5, and not how many maps the last convolution has; timm takes 1984",
    ),
)
