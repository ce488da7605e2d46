"""Inception: several windows side by side; v1 to v4, the residual ones, and Xception.

torchvision's two networks are built with their auxiliary classifiers, because their checkpoints have them, and served
without. Their own forward turns ImageNet's normalisation into the one they were trained with (`transform_input`).
"""

from __future__ import annotations

from export.catalogue.family import PYTORCHCV_NOTE, Arguments, Family, crop, halved

_V1 = Family("GoogLeNet", "Going Deeper with Convolutions (arXiv:1409.4842)", 2014)
_V2 = Family("BN-Inception", "Batch Normalization: Accelerating Deep Network Training (arXiv:1502.03167)", 2015)
_V3 = Family("Inception v3", "Rethinking the Inception Architecture for Computer Vision (arXiv:1512.00567)", 2015)
_V4 = Family(
    "Inception v4", "Inception-v4, Inception-ResNet and the Impact of Residual Connections (arXiv:1602.07261)", 2016
)
_XCEPTION = Family("Xception", "Xception: Deep Learning with Depthwise Separable Convolutions (arXiv:1610.02357)", 2016)
_WITH_AUX: Arguments = (("aux_logits", True), ("transform_input", True), ("init_weights", True))

ROWS = (
    _V1.own(
        "googlenet_2014",
        "googlenet_2014",
        (6.999, 6.8),
        paper_top1=69.8,
        note="table 1 of the paper adds up to 6.8; its layers, counted, have 7.00",
    ),
    _V1.torchvision(
        "googlenet",
        "fc",
        crop(224, 256),
        (6.625, 6.8),
        69.778,
        arguments=_WITH_AUX,
        note="BatchNorm, and 3×3 where the paper has 5×5; 13.00 with the auxiliary classifiers, not served",
    ),
    _V2.pytorchcv("bninception", "bninception", (11.295, 11.2), paper_top1=74.8),
    _V3.torchvision(
        "inception_v3",
        "fc",
        crop(299, 342),
        (23.835, 23.8),
        77.294,
        arguments=_WITH_AUX,
        paper_top1=78.8,
    ),
    _V4.pytorchcv(
        "inception_resnet_v1",
        "inceptionresnetv1",
        (23.996, None),
        head="output.fc2",
        pixels=crop(299, 342, note=PYTORCHCV_NOTE),
        paper_top1=78.7,
    ),
    _V4.timm(
        "inception_resnet_v2",
        "inception_resnet_v2",
        "classif",
        halved(299, 333),
        (55.843, 55.8),
        tag="tf_in1k",
        top1=80.462,
        paper_top1=80.1,
    ),
    _V4.timm(
        "inception_v4",
        "inception_v4",
        "last_linear",
        halved(299, 341),
        (42.680, 42.7),
        tag="tf_in1k",
        top1=80.156,
        paper_top1=80.0,
    ),
    _XCEPTION.timm(
        "xception",
        "legacy_xception",
        "fc",
        halved(299, 333),
        (22.856, 22.9),
        tag="tf_in1k",
        top1=79.040,
        paper_top1=79.0,
    ),
)
