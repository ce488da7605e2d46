"""transformers' detectors and segmenters, by name: a configuration each, random weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import torch
import transformers
from torch import Tensor, nn

# What every configuration takes is not in its signature.
_of: Any = transformers

Builder = Callable[..., nn.Module]

# Swin by size: width, depths, heads, window and picture side of its pretraining. Source: arXiv:2103.14030, section 3.3.
SWIN: Mapping[str, tuple[int, tuple[int, ...], tuple[int, ...], int, int]] = MappingProxyType(
    {
        "tiny": (96, (2, 2, 6, 2), (3, 6, 12, 24), 7, 224),
        "small": (96, (2, 2, 18, 2), (3, 6, 12, 24), 7, 224),
        "base": (128, (2, 2, 18, 2), (4, 8, 16, 32), 12, 384),
        "large": (192, (2, 2, 18, 2), (6, 12, 24, 48), 12, 384),
    }
)
# MiT by size: widths, depths and the decoder's width. Source: SegFormer (arXiv:2105.15203), table 6.
MIT: Mapping[str, tuple[tuple[int, ...], tuple[int, ...], int]] = MappingProxyType(
    {
        "b0": ((32, 64, 160, 256), (2, 2, 2, 2), 256),
        "b5": ((64, 128, 320, 512), (3, 6, 40, 3), 768),
    }
)

# "the task is panoptic", as CLIP's tokenizer numbers it, begin and end included. Source: openai/CLIP,
# simple_tokenizer.py with bpe_simple_vocab_16e6.txt.gz; transformers, processing_oneformer.py, _preprocess_text.
TASK_WORDS: Mapping[str, tuple[int, ...]] = MappingProxyType({"panoptic": (49406, 518, 10549, 533, 1072, 24755, 49407)})


def _backbone(name: str, stages: tuple[int, ...]) -> Any:
    return _of.TimmBackboneConfig(backbone=name, out_indices=stages, use_pretrained_backbone=False, features_only=True)


def _swin(size: str) -> Any:
    width, depths, heads, window, side_px = SWIN[size]
    return _of.SwinConfig(
        embed_dim=width,
        depths=list(depths),
        num_heads=list(heads),
        window_size=window,
        image_size=side_px,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )


def _detr_config(backbone: str, classes: int, **config: Any) -> Any:
    stages = _backbone(backbone, (1, 2, 3, 4))
    return _of.DetrConfig(backbone_config=stages, num_labels=classes, **config)


def detr(backbone: str = "resnet50", classes: int = 91, **config: Any) -> nn.Module:
    module: nn.Module = _of.DetrForObjectDetection(_detr_config(backbone, classes, **config))
    return module


def detr_panoptic(backbone: str = "resnet50", classes: int = 250, **config: Any) -> nn.Module:
    module: nn.Module = _of.DetrForSegmentation(_detr_config(backbone, classes, **config))
    return module


def deformable_detr(backbone: str = "resnet50", classes: int = 91, **config: Any) -> nn.Module:
    module: nn.Module = _of.DeformableDetrForObjectDetection(
        _of.DeformableDetrConfig(backbone_config=_backbone(backbone, (2, 3, 4)), num_labels=classes, **config)
    )
    return module


def mask2former(swin: str = "tiny", classes: int = 133, **config: Any) -> nn.Module:
    module: nn.Module = _of.Mask2FormerForUniversalSegmentation(
        _of.Mask2FormerConfig(backbone_config=_swin(swin), num_labels=classes, **config)
    )
    return module


def maskformer(swin: str = "base", classes: int = 133, decoder_layers: int = 6) -> nn.Module:
    module: nn.Module = _of.MaskFormerForInstanceSegmentation(
        _of.MaskFormerConfig(
            backbone_config=_swin(swin),
            decoder_config=_of.DetrConfig(num_labels=classes, decoder_layers=decoder_layers),
            num_labels=classes,
        )
    )
    return module


class OneFormerForATask(nn.Module):
    """OneFormer, told its task once and for all: what is left is a function of the picture.

    The task is a sentence; what the network is given are the numbers of its words, as floats, through two layers.
    """

    task: Tensor

    def __init__(self, model: nn.Module, task: str) -> None:
        super().__init__()
        self.model = model
        words = TASK_WORDS[task]
        padded = [*words, *[0] * (cast("Any", model.config).task_seq_len - len(words))]
        self.register_buffer("task", torch.tensor([padded], dtype=torch.float32), persistent=False)

    def forward(self, x: Tensor) -> Any:
        return self.model(x, task_inputs=self.task.expand(x.shape[0], -1))


def oneformer(swin: str = "large", classes: int = 133, task: str = "panoptic", **config: Any) -> nn.Module:
    made = _of.OneFormerConfig(backbone_config=_swin(swin), num_labels=classes, **config)
    return OneFormerForATask(_of.OneFormerForUniversalSegmentation(made), task)


class SegformerLogits(nn.Module):
    """SegFormer, giving its logits (N, C, H / 4, W / 4) alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Any) -> Any:
        return self.model(x).logits


def segformer(size: str = "b0", classes: int = 150) -> nn.Module:
    widths, depths, decoder = MIT[size]
    config = _of.SegformerConfig(
        hidden_sizes=list(widths), depths=list(depths), decoder_hidden_size=decoder, num_labels=classes
    )
    return SegformerLogits(_of.SegformerForSemanticSegmentation(config))


NETWORKS: Mapping[str, Builder] = MappingProxyType(
    {
        "detr": detr,
        "detr_panoptic": detr_panoptic,
        "deformable_detr": deformable_detr,
        "mask2former": mask2former,
        "maskformer": maskformer,
        "oneformer": oneformer,
        "segformer": segformer,
    }
)
_CLASSES: Mapping[str, str] = MappingProxyType(
    {
        "detr": "DetrForObjectDetection",
        "detr_panoptic": "DetrForSegmentation",
        "deformable_detr": "DeformableDetrForObjectDetection",
        "mask2former": "Mask2FormerForUniversalSegmentation",
        "maskformer": "MaskFormerForInstanceSegmentation",
        "oneformer": "OneFormerForUniversalSegmentation",
        "segformer": "SegformerForSemanticSegmentation",
    }
)


def pretrained(constructor: str, folder: Path) -> nn.Module:
    """The network of a folder with config.json and model.safetensors, by transformers' own loading."""
    kind = getattr(transformers, _CLASSES[constructor])
    module: nn.Module = kind.from_pretrained(folder, local_files_only=True)
    match constructor:
        case "segformer":
            return SegformerLogits(module)
        case "oneformer":
            return OneFormerForATask(module, "panoptic")
    return module
