"""What the library itself says of a model's preprocessing: the yardstick for the row and for every exported graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
import timm
from numpy.typing import NDArray
from PIL import Image
from timm.data.config import resolve_data_config
from timm.data.transforms_factory import create_transform
from torchvision import transforms
from torchvision.models import get_model_weights
from torchvision.transforms import InterpolationMode

from export.catalogue.row import HubWeights, Rgb, Row
from export.errors import WeightsError
from service.manifest import ResizeRule

BLACK_IS_ZERO: Rgb = (0.0, 0.0, 0.0)
WHITE_IS_ONE: Rgb = (1.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Upstream:
    """The library's preprocessing.

    resize, mean, std   as its metadata says
    cut     its own transform without the normalisation, giving (3, H, W) in 0..1; the row's rule in torchvision's
            transforms where the row notes that it has another
    """

    resize: ResizeRule
    mean: Rgb
    std: Rgb
    cut: Callable[[Image.Image], Any]

    def pixels(self, picture: Image.Image) -> NDArray[np.uint8]:
        """The picture as the graph wants it: (H, W, 3) uint8 RGB."""
        chw = np.asarray(self.cut(picture), dtype=np.float64)  # (3, H, W)
        return np.rint(chw.transpose(1, 2, 0) * 255).astype(np.uint8)  # (H, W, 3)


def upstream(row: Row) -> Upstream:
    """The preprocessing of the row's network, by the library's metadata and the library's code.

    pytorchcv publishes only the side of its input, and networks of our own have no library: theirs is the row's.
    """
    match row.network.library:
        case "timm":
            return _timm(row)
        case "torchvision":
            return _torchvision(row)
        case "pytorchcv" | "transformers" | "smp" | "own" | "starter":
            return Upstream(row.resize, row.mean, row.std, cut_by(row.resize))


def cut_by(rule: ResizeRule) -> Callable[[Image.Image], Any]:
    """A rule of ours in torchvision's transforms, up to (3, H, W) in 0..1."""
    interpolation = InterpolationMode(rule.interpolation)
    if rule.mode == "squash":
        steps = [transforms.Resize(rule.size_hw, interpolation)]
        return cast("Callable[[Image.Image], Any]", transforms.Compose([*steps, transforms.ToTensor()]))
    if rule.mode == "letterbox":
        raise NotImplementedError("no library's classifier letterboxes its pictures")
    steps = [transforms.Resize(rule.shorter_side_px, interpolation), transforms.CenterCrop(rule.size_hw)]
    return cast("Callable[[Image.Image], Any]", transforms.Compose([*steps, transforms.ToTensor()]))


def _timm(row: Row) -> Upstream:
    tags = [f".{source.tag}" for source in row.weights if isinstance(source, HubWeights)]
    known = timm.get_pretrained_cfg(row.network.constructor + (tags[0] if tags else ""))
    if known is None:
        raise WeightsError(f"timm knows no preprocessing for {row.network.constructor}.")
    published: dict[str, Any] = resolve_data_config(pretrained_cfg=asdict(known))  # type: ignore[no-untyped-call]
    _, height_px, width_px = published["input_size"]
    size_hw = (height_px, width_px)
    cut = create_transform(**published | {"mean": BLACK_IS_ZERO, "std": WHITE_IS_ONE})
    if published["crop_mode"] == "squash":
        resize = ResizeRule("squash", size_hw, published["interpolation"])
    else:
        resize = ResizeRule("crop", size_hw, published["interpolation"], cut.transforms[0].size)
    if row.preprocessing_note:
        cut = cut_by(row.resize)
    return Upstream(resize, tuple(published["mean"]), tuple(published["std"]), cut)


def _torchvision(row: Row) -> Upstream:
    tags = [source.tag for source in row.weights if isinstance(source, HubWeights)]
    if not tags:
        raise WeightsError(f"{row.name} names no torchvision weights, so torchvision's preprocessing is not known.")
    presets = get_model_weights(row.network.constructor)[tags[0]].transforms
    published = presets()
    (size_px,), (shorter_side_px,) = published.crop_size, published.resize_size
    return Upstream(
        resize=ResizeRule("crop", (size_px, size_px), published.interpolation.value, shorter_side_px),
        mean=tuple(published.mean),
        std=tuple(published.std),
        cut=cut_by(row.resize) if row.preprocessing_note else presets(mean=BLACK_IS_ZERO, std=WHITE_IS_ONE),
    )
