"""ResNet: residual connections."""

from __future__ import annotations

from export.catalogue.row import IMAGENET_MEAN, IMAGENET_STD, HubWeights, Network, Row
from service.manifest import Accuracy, ResizeRule

ROWS = (
    Row(
        name="resnet50",
        family="ResNet",
        paper="Deep Residual Learning for Image Recognition (arXiv:1512.03385)",
        year=2015,
        task="classify",
        network=Network("torchvision", "resnet50", head="fc"),
        resize=ResizeRule("crop", (224, 224), "bilinear", 232),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        classes=1000,
        label_set="imagenet-1k",
        params_millions=25.557,
        # Table 1 of the paper gives FLOPs only.
        paper_params_millions=None,
        accuracy=Accuracy(80.858, "top-1", "imagenet-1k", "torchvision, ResNet50_Weights.IMAGENET1K_V2"),
        weights=(HubWeights("torchvision", "IMAGENET1K_V2", "BSD-3-Clause"),),
    ),
)
