"""The few layers the heads are made of."""

import copy

import torch.nn.functional as F
from timm.layers.drop import DropPath
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from export.starter.backbone import load_stages


class Separable(nn.Module):
    """Depthwise 3×3, pointwise 1×1, BatchNorm, ReLU; the size stays. One BatchNorm for each of `levels`."""

    def __init__(self, inputs: int, outputs: int, levels: int = 1) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
        # maps of different strides have different statistics, so only the convolutions are shared
        self.norms = nn.ModuleList(nn.BatchNorm2d(outputs) for _ in range(levels))

    def forward(self, x: Tensor, level: int = 0) -> Tensor:
        y: Tensor = self.norms[level](self.pointwise(self.depthwise(x)))
        return F.relu(y)

    def fold(self) -> None:
        """Folds every BatchNorm into a pointwise convolution of its own: inference only.

        Exporters fold a BatchNorm only into a convolution nobody else uses, and this one is shared by the levels.
        """
        norms = [norm for norm in self.norms if isinstance(norm, nn.BatchNorm2d)]
        self.norms = nn.ModuleList(fuse_conv_bn_eval(self.pointwise, norm) for norm in norms)
        self.pointwise = nn.Identity()  # type: ignore[assignment]


def fold_separables(module: nn.Module) -> None:
    """Folds every `Separable` inside, in place."""
    for layer in list(module.modules()):
        if isinstance(layer, Separable):
            layer.fold()


class Lateral(nn.Sequential):
    """1×1 convolution and BatchNorm: a backbone map in the neck's width."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))


def upsample_to(x: Tensor, like: Tensor) -> Tensor:
    """x bilinearly at the height and width of `like`."""
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)


def tail_from(first: int, drop_path: float = 0.0) -> nn.ModuleList:
    """Trainable copies of the backbone's stages `first`..3, BatchNorms folded.

    drop_path is the chance of skipping a residual block while training (stochastic depth).
    """
    tail = copy.deepcopy(load_stages()[first:]).requires_grad_(True)
    for module in tail.modules():
        if drop_path and hasattr(module, "drop_path") and getattr(module, "has_skip", False):
            module.drop_path = DropPath(drop_path)
    return tail
