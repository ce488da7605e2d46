"""ResNet, and what was made of it: pre-activation, wide, stochastic depth, ResNet in ResNet, FractalNet, ResNeXt."""

from __future__ import annotations

from export.catalogue.family import CIFAR_LABELS, Arguments, Family, crop
from export.catalogue.row import Row

_RESNET = Family("ResNet", "Deep Residual Learning for Image Recognition (arXiv:1512.03385)", 2015)
_PRE = Family("ResNet v2", "Identity Mappings in Deep Residual Networks (arXiv:1603.05027)", 2016)
_WIDE = Family("Wide ResNet", "Wide Residual Networks (arXiv:1605.07146)", 2016)
_DROP = Family("Stochastic depth", "Deep Networks with Stochastic Depth (arXiv:1603.09382)", 2016)
_RIR = Family("ResNet in ResNet", "Resnet in Resnet: Generalizing Residual Architectures (arXiv:1603.08029)", 2016)
_FRACTAL = Family("FractalNet", "FractalNet: Ultra-Deep Neural Networks without Residuals (arXiv:1605.07648)", 2016)
_NEXT = Family("ResNeXt", "Aggregated Residual Transformations for Deep Neural Networks (arXiv:1611.05431)", 2016)
_V1, _V2 = crop(224, 256), crop(224, 232)
_NOT_ZERO: Arguments = (("zero_init_last", False),)


def _cifar(
    family: Family,
    name: str,
    millions: tuple[float, float | None],
    top1: float | None,
    paper_top1: float | None = None,
    head: str = "output",
    note: str = "",
) -> Row:
    return family.pytorchcv(
        name,
        name,
        millions,
        head=head,
        labels=CIFAR_LABELS,
        published=top1 is not None,
        top1=top1,
        paper_top1=paper_top1,
        note=note,
    )


# The paper's table 1 gives FLOPs only; its CIFAR networks are counted in table 6.
RESNETS = (
    _RESNET.torchvision("resnet18", "fc", _V1, (11.690, None), 69.758),
    _RESNET.torchvision("resnet34", "fc", _V1, (21.798, None), 73.314),
    _RESNET.torchvision("resnet50", "fc", _V2, (25.557, None), 80.858, tag="IMAGENET1K_V2", paper_top1=77.15),
    _RESNET.torchvision("resnet101", "fc", _V2, (44.549, None), 81.886, tag="IMAGENET1K_V2", paper_top1=78.25),
    _RESNET.torchvision("resnet152", "fc", _V2, (60.193, None), 82.284, tag="IMAGENET1K_V2", paper_top1=78.57),
    _cifar(
        _RESNET,
        "resnet1001_cifar10",
        (10.329, 10.2),
        96.72,
        note="the paper says 10.2; pytorchcv's, counted, has 10.33",
    ),
    _cifar(_RESNET, "resnet1202_cifar10", (19.424, 19.4), 96.47, 92.07),
)
PRE_ACTIVATION = (
    _PRE.pytorchcv("preresnet18", "preresnet18", (11.688, None), top1=71.57),
    _PRE.pytorchcv("preresnet34", "preresnet34", (21.796, None)),
    _PRE.pytorchcv("preresnet50", "preresnet50", (25.549, None)),
    _PRE.pytorchcv("preresnet101", "preresnet101", (44.542, None)),
    _PRE.pytorchcv("preresnet152", "preresnet152", (60.185, None), paper_top1=78.9),
    _PRE.pytorchcv("preresnet200", "preresnet200b", (64.666, 64.7), paper_top1=79.9),
    _cifar(
        _PRE,
        "preresnet1001_cifar10",
        (10.328, 10.2),
        97.35,
        95.38,
        note="the paper says 10.2; pytorchcv's, counted, has 10.33",
    ),
)
WIDE = (
    _WIDE.torchvision("wide_resnet50_2", "fc", _V2, (68.883, 68.9), 81.602, tag="IMAGENET1K_V2", paper_top1=78.1),
    _WIDE.torchvision("wide_resnet101_2", "fc", _V2, (126.887, None), 82.510, tag="IMAGENET1K_V2"),
    _cifar(_WIDE, "wrn16_10_cifar10", (17.117, 17.1), 97.07),
    _cifar(_WIDE, "wrn28_10_cifar10", (36.479, 36.5), 97.61, 96.00),
    _cifar(_WIDE, "wrn40_8_cifar10", (35.748, 35.7), 97.63),
)
STOCHASTIC_DEPTH = (
    _cifar(_DROP, "resdropresnet20_cifar10", (0.2725, None), None),
    _DROP.pytorchcv(
        "resdropresnet110_cifar10",
        "resdropresnet_cifar.get_resdropresnet_cifar",
        (1.731, 1.7),
        labels=CIFAR_LABELS,
        published=False,
        arguments=(("num_classes", 10), ("blocks", 110), ("bottleneck", False)),
        paper_top1=94.75,
    ),
)
NEXT = (
    _NEXT.torchvision("resnext50_32x4d", "fc", _V2, (25.029, 25.0), 81.198, tag="IMAGENET1K_V2", paper_top1=77.8),
    _NEXT.timm(
        "resnext101_32x4d",
        "resnext101_32x4d",
        "fc",
        crop(224, 256, "bicubic"),
        (44.178, 44.2),
        tag="gluon_in1k",
        top1=80.340,
        arguments=_NOT_ZERO,
        paper_top1=78.8,
    ),
    _NEXT.torchvision("resnext101_32x8d", "fc", _V2, (88.791, 88.8), 82.834, tag="IMAGENET1K_V2"),
    _NEXT.torchvision("resnext101_64x4d", "fc", _V2, (83.455, 83.5), 83.246, paper_top1=79.6),
    _cifar(_NEXT, "resnext29_32x4d_cifar10", (4.776, None), 96.85),
    _cifar(_NEXT, "resnext29_16x64d_cifar10", (68.155, 68.1), 97.59, 96.42),
)

ROWS = (
    *RESNETS,
    *PRE_ACTIVATION,
    *STOCHASTIC_DEPTH,
    _cifar(
        _RIR,
        "rir_cifar10",
        (9.493, 10.3),
        96.72,
        94.99,
        "output.final_conv.conv",
        "pytorchcv's has 9.49, and says not why",
    ),
    _cifar(_FRACTAL, "fractalnet_cifar10", (33.725, 38.6), None, 94.78, note="pytorchcv's has 33.72, and says not why"),
    *WIDE,
    *NEXT,
)
