"""Row → torch module, with random numbers in it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import timm
import torch
import torchvision
from torch import nn

from export.architectures.by_name import ARCHITECTURES
from export.catalogue.row import Network, Row

SEED = 0
# torchvision's detectors and segmenters: their constructors would fetch weights for the backbone.
_WITH_BACKBONE = frozenset(
    torchvision.models.list_models(module=torchvision.models.detection)
    + torchvision.models.list_models(module=torchvision.models.segmentation)
)
# Those whose published checkpoints were trained with a BatchNorm that adds nothing to the variance.
# Source: `overwrite_eps(model, 0.0)` in torchvision/models/detection/{faster_rcnn,mask_rcnn,retinanet}.py.
_WITHOUT_EPS = frozenset({"fasterrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn", "retinanet_resnet50_fpn"})
# Auxiliary classifiers of torchvision's Inception and segmentation networks: they are there for training alone.
TRAINING_ONLY = ("aux1", "aux2", "AuxLogits", "aux_classifier")


def build(network: Network) -> nn.Module:
    """The library's network in eval mode. The same random weights every time, so that `random` can be repeated."""
    arguments: dict[str, Any] = dict(network.arguments)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return _construct(network, arguments).eval()


def _construct(network: Network, arguments: dict[str, Any]) -> nn.Module:
    match network.library:
        case "timm":
            module: nn.Module = timm.create_model(network.constructor, pretrained=False, **arguments)
        case "torchvision":
            if network.constructor in _WITH_BACKBONE:
                arguments = {"weights_backbone": None} | arguments
            module = torchvision.models.get_model(network.constructor, weights=None, **arguments)
        case "pytorchcv":
            module = _pytorchcv(network.constructor, arguments)
        case "transformers":
            from export.transformers_networks import NETWORKS

            module = NETWORKS[network.constructor](**arguments)
        case "smp":
            import segmentation_models_pytorch

            module = getattr(segmentation_models_pytorch, network.constructor)(encoder_weights=None, **arguments)
        case "own":
            module = ARCHITECTURES[network.constructor](**arguments)
        case "starter":
            raise ValueError("a starter model has no constructor without its weights. This is a bug.")
    return module


def _pytorchcv(constructor: str, arguments: dict[str, Any]) -> nn.Module:
    """By name; or, where the name is `family.function`, by that function, which takes any width or depth."""
    from pytorchcv.model_provider import get_model

    family, dot, function = constructor.partition(".")
    if not dot:
        module: nn.Module = get_model(constructor, **arguments)
    else:
        module = getattr(import_module(f"pytorchcv.models.{family}"), function)(**arguments)
    return module


def without_training_parts(module: nn.Module) -> nn.Module:
    """The same module without its auxiliary classifiers: what is served, and what the paper's table counts."""
    for name in TRAINING_ONLY:
        if isinstance(getattr(module, name, None), nn.Module):
            setattr(module, name, None)
            if hasattr(module, "aux_logits"):
                module.aux_logits = False  # type: ignore[assignment]
    return module


def with_published_eps(module: nn.Module, network: Network) -> nn.Module:
    """The same module, as the published checkpoint of its constructor wants its BatchNorm."""
    if network.library == "torchvision" and network.constructor in _WITHOUT_EPS:
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eps = 0.0
    return module


def count_params(row: Row) -> int:
    """Number of trained parameters of the network as served, counted without allocating them."""
    with torch.device("meta"):
        module = without_training_parts(build(row.network))
    return sum(parameter.numel() for parameter in module.parameters())
