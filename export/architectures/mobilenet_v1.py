"""MobileNet v1 for any side of the input: the paper's resolution multiplier rho.

Howard et al.: MobileNets (arXiv:1704.04861), section 3.4. pytorchcv has the network with an average over exactly 7×7,
which is what 224 pixels leave; 192, 160 and 128 leave 6×6, 5×5 and 4×4.
"""

from __future__ import annotations

from pytorchcv.model_provider import get_model
from torch import nn


def mobilenet_v1_any_side(width: str) -> nn.Module:
    """pytorchcv's `mobilenet_<width>` with an average over whatever is left at the end."""
    network: nn.Module = get_model(f"mobilenet_{width}")
    features = network.get_submodule("features")
    features.final_pool = nn.AdaptiveAvgPool2d(1)
    return network
