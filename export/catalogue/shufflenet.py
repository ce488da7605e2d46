"""ShuffleNet: groups that are shuffled (v1), maps that are split (v2), and a searched mix (v2+)."""

from __future__ import annotations

from export.catalogue.family import Arguments, Family, crop
from export.catalogue.row import Row

_V1 = Family("ShuffleNet v1", "ShuffleNet: An Extremely Efficient CNN for Mobile Devices (arXiv:1707.01083)", 2017)
_V2 = Family("ShuffleNet v2", "ShuffleNet V2: Practical Guidelines for Efficient CNN Design (arXiv:1807.11164)", 2018)
_PLUS = Family("ShuffleNet v2+", "no paper; the authors' repository, megvii-model/ShuffleNet-Series", 2019)


# Table 2 of the paper gives FLOPs only.
def _v1(name: str, millions: float, top1: float | None = None, paper_top1: float | None = None) -> Row:
    return _V1.pytorchcv(name, name, (millions, None), top1=top1, paper_top1=paper_top1)


def _wide(name: str, millions: float, width_scale: float, paper_top1: float | None) -> Row:
    return _V1.pytorchcv(
        name,
        "shufflenet.get_shufflenet",
        (millions, None),
        published=False,
        arguments=(("groups", 3), ("width_scale", width_scale)),
        paper_top1=paper_top1,
    )


def _plus(size: str, millions: tuple[float, float], paper_top1: float, note: str = "") -> Row:
    arguments: Arguments = (("size", size),)
    name = f"shufflenet_v2_plus_{size}"
    return _PLUS.own(name, "shufflenet_v2_plus", millions, arguments=arguments, paper_top1=paper_top1, note=note)


ROWS = (
    _v1("shufflenet_g1_wd4", 0.2097, 37.56),
    _v1("shufflenet_g3_wd4", 0.3059, 38.26),
    _v1("shufflenet_g1_wd2", 0.5345, 53.41),
    _v1("shufflenet_g3_wd2", 0.7183, 55.84),
    _v1("shufflenet_g1_w3d4", 0.9752),
    _v1("shufflenet_g3_w3d4", 1.238),
    _v1("shufflenet_g1_w1", 1.532, paper_top1=66.4),
    _v1("shufflenet_g2_w1", 1.734, paper_top1=67.3),
    _v1("shufflenet_g3_w1", 1.866, paper_top1=67.4),
    _v1("shufflenet_g4_w1", 1.968, paper_top1=67.2),
    _v1("shufflenet_g8_w1", 2.435, paper_top1=67.6),
    _wide("shufflenet_g3_w3d2", 3.443, 1.5, 71.5),
    _wide("shufflenet_g3_w2", 5.451, 2.0, 73.7),
    _V2.torchvision("shufflenet_v2_x0_5", "fc", crop(224, 256), (1.367, 1.4), 60.552, paper_top1=60.3),
    _V2.torchvision("shufflenet_v2_x1_0", "fc", crop(224, 256), (2.279, 2.3), 69.362, paper_top1=69.4),
    _V2.torchvision("shufflenet_v2_x1_5", "fc", crop(224, 232), (3.504, 3.5), 72.996, paper_top1=72.6),
    _V2.torchvision("shufflenet_v2_x2_0", "fc", crop(224, 232), (7.394, 7.4), 76.230, paper_top1=74.9),
    _plus("small", (5.137, 5.1), 74.1),
    _plus("medium", (5.680, 5.6), 75.7, "the authors say 5.6; their code, counted, has 5.68"),
    _plus("large", (6.768, 6.7), 77.1, "the authors say 6.7; their code, counted, has 6.77"),
)
