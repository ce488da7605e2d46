"""How a checkpoint's tensor names become a network's: one function per publisher."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import cast

from torch import nn

# (a checkpoint's tensor name, the network it is for) → the network's name for it
Renaming = Callable[[str, nn.Module], str]

_LITE_OUTER = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
# The first stage's block has no expansion, so timm calls its second convolution conv_pw, not conv_pwl.
_LITE_FIRST_STAGE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_LITE_OTHER_STAGES = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}

_DENSE_LAYER = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")


def as_they_are(key: str, module: nn.Module) -> str:
    return key


def efficientnet_lite_pytorch(key: str, module: nn.Module) -> str:
    """timm's name: the package numbers blocks through (`_blocks.7`), timm by stage (`blocks.3.1`).

    Raises KeyError or IndexError for a name that this publisher does not use.
    """
    first, *rest = key.split(".")
    if first != "_blocks":
        return ".".join([_LITE_OUTER[first], *rest])
    number, layer, *rest = rest
    stage, block = _stage_and_block(module)[int(number)]
    layer = (_LITE_FIRST_STAGE if stage == 0 else _LITE_OTHER_STAGES)[layer]
    return ".".join(["blocks", str(stage), str(block), layer, *rest])


def _stage_and_block(module: nn.Module) -> list[tuple[int, int]]:
    stages = cast(nn.Sequential, module.get_submodule("blocks"))
    return [(s, b) for s, stage in enumerate(stages) for b in range(len(cast(nn.Sequential, stage)))]


def torchvision_densenet(key: str, module: nn.Module) -> str:
    """torchvision's name of today: its files say `norm.1`, `conv.2`, its network `norm1`, `conv2`."""
    return _DENSE_LAYER.sub(r"\1\2", key)


RENAMINGS: Mapping[str, Renaming] = MappingProxyType(
    {
        "as_they_are": as_they_are,
        "efficientnet_lite_pytorch": efficientnet_lite_pytorch,
        "torchvision_densenet": torchvision_densenet,
    }
)
