"""Name → builder of every network that no library has. Each comes from the one file of its paper, when it is wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any

from torch import nn

Builder = Callable[..., nn.Module]


def _from(file: str, name: str, **fixed: Any) -> Builder:
    """A builder that imports its file at the first call: se_bn_inception and igpt bring a library each."""

    def build(**arguments: Any) -> nn.Module:
        builder: Builder = getattr(import_module(f"export.architectures.{file}"), name)
        return builder(**(fixed | arguments))

    return build


ARCHITECTURES: Mapping[str, Builder] = MappingProxyType(
    {
        "lenet5": _from("lenet5", "LeNet5"),
        "alexnet_2012": _from("alexnet", "AlexNet2012"),
        "vgg11_lrn": _from("vgg", "vgg11_lrn"),
        "vgg16_c": _from("vgg", "vgg16_c"),
        "nin_imagenet": _from("nin", "NinImageNet"),
        "googlenet_2014": _from("googlenet", "GoogLeNet2014"),
        "highway_cifar": _from("highway", "HighwayCifar"),
        "densenet_cifar": _from("densenet", "DenseNetCifar"),
        "densenet264": _from("densenet", "densenet264"),
        "squeezenet_complex_bypass": _from("squeezenet", "SqueezeNetComplexBypass"),
        "effnet_cifar": _from("effnet", "EffNetCifar"),
        "shufflenet_v2_plus": _from("shufflenet_v2_plus", "ShuffleNetV2Plus"),
        "se_bn_inception": _from("se_bn_inception", "se_bn_inception"),
        "mobilenet_v1_any_side": _from("mobilenet_v1", "mobilenet_v1_any_side"),
        "fbnet_a": _from("fbnet", "fbnet_a"),
        "fbnet_b": _from("fbnet", "fbnet_b"),
        "mobiledet": _from("mobiledet", "MobileDet"),
        "rcnn": _from("rcnn", "Rcnn"),
        "fast_rcnn": _from("rcnn", "FastRcnn"),
        "max_deeplab": _from("max_deeplab", "MaxDeepLab"),
        "panoptic_fpn": _from("panoptic_fpn", "PanopticFpn"),
        "tsp_fcos": _from("tsp", "TspFcos"),
        "tsp_rcnn": _from("tsp_rcnn", "TspRcnn"),
        "yolo_v1": _from("yolo", "YoloV1"),
        "yolo_v2": _from("yolo", "YoloV2"),
        "yolo_v3": _from("yolo", "YoloV3"),
        "unet_2015": _from("unet", "UNet2015"),
        "setr_naive": _from("setr", "SetrNaive"),
        "setr_pup": _from("setr", "SetrPup"),
        "setr_mla": _from("setr", "SetrMla"),
        "igpt": _from("igpt", "ImageGpt"),
    }
)
