"""The graph contract of `classify`, put around any network that ends in one linear layer or 1×1 convolution.

image (N, H, W, 3) uint8 ─▶ normalise ─▶ body ─▶ embedding (N, D) ─▶ head ─▶ softmax ─▶ probabilities (N, C)
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from export.catalogue.row import Rgb
from export.errors import GraphError

OUTPUTS = ("probabilities", "embedding")


class Classifier(nn.Module):
    """uint8 pixels in, probabilities and embedding out, both float32."""

    scale: Tensor
    shift: Tensor

    def __init__(self, body: nn.Module, head: nn.Module, mean: Rgb, std: Rgb) -> None:
        super().__init__()
        self.body = body
        self.head = head
        # (x / 255 - mean) / std as one multiplication and one addition. It stays outside the first convolution: the
        # zeros that a convolution pads with are normalised zeros, so its addition cannot move into the bias.
        mean_255 = torch.tensor(mean, dtype=torch.float64) * 255
        std_255 = torch.tensor(std, dtype=torch.float64) * 255
        self.register_buffer("scale", (1 / std_255).float().view(1, 3, 1, 1))
        self.register_buffer("shift", (-mean_255 / std_255).float().view(1, 3, 1, 1))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        # Laid out anew: in the permuted layout torch's exporter writes an average pool as a gather over strides.
        x = image.permute(0, 3, 1, 2).contiguous().float()  # (N, 3, H, W)
        embedding = self.body(x * self.scale + self.shift)  # (N, D)
        return self.head(embedding).softmax(-1), embedding  # (N, C), (N, D)


class Listener(nn.Module):
    """A head that keeps what it was given until somebody asks."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head
        self.heard: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.heard.append(x)
        out: Tensor = self.head(x)
        return out


class ConvolutionalClassifier(Classifier):
    """The same contract for a network that ends in a 1×1 convolution and a pool, so that it cannot be cut in two.

    image ─▶ normalise ─▶ body, its head overheard ─▶ softmax ─▶ probabilities (N, C)
                              └─▶ mean over height and width ─▶ embedding (N, D)
    """

    head: Listener

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        x = image.permute(0, 3, 1, 2).contiguous().float()  # (N, 3, H, W)
        logits = self.body(x * self.scale + self.shift)  # (N, C)
        embedding = self.head.heard.pop().mean((2, 3))  # (N, D)
        return logits.softmax(-1), embedding


def as_classifier(module: nn.Module, head: str, mean: Rgb, std: Rgb) -> Classifier:
    """The module under the contract; the module itself is left as it was. Raises GraphError if it has no such head."""
    try:
        layer = module.get_submodule(head)
    except AttributeError as err:
        raise GraphError(f"the network has no layer {head!r}.") from err
    # Shares every tensor with the module, but not its structure, which is about to change.
    body = copy.deepcopy(module, {id(t): t for t in (*module.parameters(), *module.buffers())})
    parent, _, name = head.rpartition(".")
    if isinstance(layer, nn.Linear):
        setattr(body.get_submodule(parent), name, nn.Identity())
        return Classifier(body, layer, mean, std).eval()
    if isinstance(layer, nn.Conv2d):
        listener = Listener(body.get_submodule(head))
        setattr(body.get_submodule(parent), name, listener)
        return ConvolutionalClassifier(body, listener, mean, std).eval()
    raise GraphError(f"{head!r} is a {type(layer).__name__}, not the layer with weights that ends the network.")
