"""A network as its library built it → the same function in a form that every ONNX Runtime computes right.

Three rewritings for BiT, whose exported graph is otherwise wrong by 11 % while every tool is content:

    Conv ─▶ Pad(0) ─▶ MaxPool           Conv ─▶ Concat(0, x, 0) ─▶ MaxPool
    ONNX Runtime's pass `Pad_Fusion`    nothing to fuse
    moves the padding into MaxPool,
    whose padding is minus infinity

    StdConv2d: the weight standardised in every forward pass ─▶ Conv2d with the standardised weight

    GroupNorm ─▶ mean and variance row by row, then of the rows. Exported as it is, it becomes InstanceNormalization,
    which ONNX Runtime sums up in one go: over 100,000 float32 numbers that is seven times less exact than torch.

And one for detectors, whose frozen BatchNorm is a product and a sum that nothing folds:

    FrozenBatchNorm2d ─▶ BatchNorm2d with the same statistics, which goes into the convolution before it
"""

from __future__ import annotations

import itertools

import torch
from timm.layers.std_conv import StdConv2d
from torch import Tensor, nn
from torch.nn import functional as F

_SHAPE: tuple[str, ...] = (
    "in_channels",
    "out_channels",
    "kernel_size",
    "stride",
    "padding",
    "dilation",
    "groups",
    "padding_mode",
)
# What transformers adds to the variance in each of its copies; torchvision's class says it itself.
_FROZEN, _FROZEN_EPS = "FrozenBatchNorm2d", 1e-5
_SHAPE += ("_reversed_padding_repeated_twice",)


class ZeroPaddedMaxPool(nn.Module):
    """ConstantPad2d(1, 0) and MaxPool2d(3, 2), without a Pad that ONNX Runtime could fuse."""

    def forward(self, x: Tensor) -> Tensor:
        row = torch.zeros_like(x[:, :, :1])  # (N, C, 1, W)
        x = torch.cat([row, x, row], 2)  # (N, C, H+2, W)
        column = torch.zeros_like(x[..., :1])  # (N, C, H+2, 1)
        x = torch.cat([column, x, column], 3)  # (N, C, H+2, W+2)
        return F.max_pool2d(x, 3, 2)


class RowwiseGroupNorm(nn.Module):
    """GroupNorm, and the activation that timm keeps inside it, in sums short enough for float32."""

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.groups, self.eps = norm.num_groups, norm.eps
        self.weight, self.bias = norm.weight, norm.bias
        act = getattr(norm, "act", None)
        self.act = act if isinstance(act, nn.Module) else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = x.reshape(x.shape[0], self.groups, -1, x.shape[3])  # (N, G, C/G·H, W)
        y = y - y.mean(3, keepdim=True).mean(2, keepdim=True)
        variance = y.square().mean(3, keepdim=True).mean(2, keepdim=True)  # (N, G, 1, 1)
        y = (y * torch.rsqrt(variance + self.eps)).reshape(x.shape)  # (N, C, H, W)
        out: Tensor = self.act(y * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1))
        return out


def for_serving(module: nn.Module) -> nn.Module:
    """The same module, rewritten in place where it has to be."""
    for parent in list(module.modules()):
        if isinstance(parent, nn.Sequential):
            _without_pad_before_max_pool(parent)
        for name, layer in list(parent.named_children()):
            if type(layer) is StdConv2d:
                setattr(parent, name, _standardised(layer))
            elif isinstance(layer, nn.GroupNorm):
                setattr(parent, name, RowwiseGroupNorm(layer))
            elif type(layer).__name__.endswith(_FROZEN):  # torchvision's, and one for each model of transformers
                setattr(parent, name, _thawed(layer))
    return module


def _thawed(layer: nn.Module) -> nn.BatchNorm2d:
    """The same function in eval mode, in the form that the exporter folds."""
    parts = {name: getattr(layer, name) for name in ("weight", "bias", "running_mean", "running_var")}
    norm = nn.BatchNorm2d(len(parts["weight"]), eps=getattr(layer, "eps", _FROZEN_EPS)).eval()
    norm.weight, norm.bias = (nn.Parameter(parts[name].clone(), requires_grad=False) for name in ("weight", "bias"))
    norm.running_mean, norm.running_var = parts["running_mean"].clone(), parts["running_var"].clone()
    return norm


def _without_pad_before_max_pool(sequence: nn.Sequential) -> None:
    names = list(sequence._modules)
    for first, second in itertools.pairwise(names):
        if _pads_with_zeros(sequence._modules[first]) and _pools_unpadded(sequence._modules[second]):
            setattr(sequence, first, nn.Identity())
            setattr(sequence, second, ZeroPaddedMaxPool())


def _pads_with_zeros(layer: nn.Module | None) -> bool:
    return isinstance(layer, nn.ConstantPad2d) and layer.value == 0 and set(layer.padding) == {1}


def _pools_unpadded(layer: nn.Module | None) -> bool:
    if not isinstance(layer, nn.MaxPool2d):
        return False
    return (layer.kernel_size, layer.stride, layer.padding, layer.dilation) == (3, 2, 0, 1) and not layer.ceil_mode


def _standardised(layer: StdConv2d) -> nn.Conv2d:
    """A plain convolution with the weight that the layer computes in every forward pass."""
    # Everything else that a convolution is, unchanged.
    plain = nn.Conv2d(1, 1, 1)
    for name in _SHAPE:
        setattr(plain, name, getattr(layer, name))
    flat = layer.weight.detach().double().reshape(1, layer.out_channels, -1)  # (1, C_out, C_in·h·w)
    # Once, so it may as well be exact: the float32 network would standardise with float32's rounding.
    weight = F.batch_norm(flat, None, None, training=True, momentum=0.0, eps=layer.eps).float()
    plain.weight = nn.Parameter(weight.reshape_as(layer.weight), requires_grad=False)
    plain.bias = layer.bias
    return plain
