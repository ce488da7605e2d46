"""Checkpoints whose file is not called after the network, known here so that torch is not imported to ask.

A test compares both tables with the libraries, for every row of the catalogue.
"""

from __future__ import annotations

# torchvision's constructor → the beginning of its files' names
TORCHVISION_STEMS = {
    "mnasnet0_5": "mnasnet0.5_top1",
    "mnasnet1_0": "mnasnet1.0_top1",
    "shufflenet_v2_x0_5": "shufflenetv2_x0.5",
    "shufflenet_v2_x1_0": "shufflenetv2_x1",
    "shufflenet_v2_x1_5": "shufflenetv2_x1_5",
    "shufflenet_v2_x2_0": "shufflenetv2_x2_0",
}

_RELEASES = "https://github.com/rwightman/pytorch-image-models/releases/download"
# timm's constructor → the address of a checkpoint that is on no hub; fetched, it lies in torch's cache
TIMM_ADDRESSES = {
    "legacy_xception": f"{_RELEASES}/v0.1-cadene/xception-43020ad28.pth",
    "legacy_seresnet50": f"{_RELEASES}/v0.1-cadene/se_resnet50-ce0d4300.pth",
    "legacy_seresnet101": f"{_RELEASES}/v0.1-cadene/se_resnet101-7e38fcc6.pth",
    "legacy_seresnet152": f"{_RELEASES}/v0.1-cadene/se_resnet152-d17c99b7.pth",
    "legacy_seresnext50_32x4d": f"{_RELEASES}/v0.1-weights/legacy_se_resnext50_32x4d-f3651bad.pth",
    "legacy_seresnext101_32x4d": f"{_RELEASES}/v0.1-weights/legacy_se_resnext101_32x4d-37725eac.pth",
    "legacy_senet154": f"{_RELEASES}/v0.1-weights/legacy_senet154-e9eb9fe6.pth",
}
