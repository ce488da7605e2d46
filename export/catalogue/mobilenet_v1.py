"""MobileNet v1: depthwise separable convolutions; width alpha and resolution rho multiply the cost away."""

from __future__ import annotations

from export.catalogue.family import Family, crop
from export.catalogue.row import Row

_MOBILENET = Family("MobileNet v1", "MobileNets: Efficient Convolutional Neural Networks (arXiv:1704.04861)", 2017)
_NOTE = "no library has this resolution; nobody published weights for it"


def _width(
    alpha: str, width: str, millions: tuple[float, float], top1: float, paper_top1: dict[int, float]
) -> tuple[Row, ...]:
    """One width at the paper's four resolutions. `paper_top1`: side in pixels → what the paper reports."""

    def smaller(side_px: int) -> Row:
        return _MOBILENET.own(
            f"mobilenet_v1_{alpha}_{side_px}",
            "mobilenet_v1_any_side",
            millions,
            head="output",
            pixels=crop(side_px, round(side_px / 0.875), note=_NOTE),
            arguments=(("width", width),),
            paper_top1=paper_top1.get(side_px),
        )

    native = _MOBILENET.pytorchcv(
        f"mobilenet_v1_{alpha}", f"mobilenet_{width}", millions, top1=top1, paper_top1=paper_top1.get(224)
    )
    return (native, *(smaller(side_px) for side_px in (192, 160, 128)))


# Tables 6 and 7 of the paper.
ROWS = (
    *_width("100", "w1", (4.232, 4.2), 73.39, {224: 70.6, 192: 69.1, 160: 67.2, 128: 64.4}),
    *_width("075", "w3d4", (2.586, 2.6), 69.86, {224: 68.4}),
    *_width("050", "wd2", (1.332, 1.3), 65.85, {224: 63.7}),
    *_width("025", "wd4", (0.4701, 0.5), 53.74, {224: 50.6}),
)
