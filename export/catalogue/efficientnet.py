"""EfficientNet: depth, width and resolution scaled together."""

from __future__ import annotations

from export.catalogue.row import IMAGENET_MEAN, IMAGENET_STD, HubWeights, Network, Row
from service.manifest import Accuracy, ResizeRule

ROWS = (
    Row(
        name="efficientnet_b0",
        family="EfficientNet",
        paper="EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks (arXiv:1905.11946)",
        year=2019,
        task="classify",
        network=Network("torchvision", "efficientnet_b0", head="classifier.1"),
        resize=ResizeRule("crop", (224, 224), "bicubic", 256),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        classes=1000,
        label_set="imagenet-1k",
        params_millions=5.289,
        paper_params_millions=5.3,
        accuracy=Accuracy(77.692, "top-1", "imagenet-1k", "torchvision, EfficientNet_B0_Weights.IMAGENET1K_V1"),
        weights=(HubWeights("torchvision", "IMAGENET1K_V1", "BSD-3-Clause"),),
    ),
)
