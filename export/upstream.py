"""What the library itself says of a model's preprocessing: the yardstick for the row and for every exported graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import timm
from numpy.typing import NDArray
from PIL import Image
from timm.data.config import resolve_data_config
from timm.data.transforms_factory import create_transform
from torchvision.models import get_model_weights

from export.catalogue.row import HubWeights, Rgb, Row
from export.errors import WeightsError
from service.manifest import ResizeRule

BLACK_IS_ZERO: Rgb = (0.0, 0.0, 0.0)
WHITE_IS_ONE: Rgb = (1.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Upstream:
    """The library's preprocessing.

    resize, mean, std   as its metadata says
    cut     its own transform without the normalisation, giving (3, H, W) in 0..1. It resizes to the row's shorter
            side where the row notes that it has another
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
    """The preprocessing of the row's network, by the library's metadata and the library's code."""
    if row.network.library == "timm":
        return _timm(row)
    return _torchvision(row)


def _timm(row: Row) -> Upstream:
    known = timm.get_pretrained_cfg(row.network.constructor)
    if known is None:
        raise WeightsError(f"timm knows no preprocessing for {row.network.constructor}.")
    published: dict[str, Any] = resolve_data_config(pretrained_cfg=asdict(known))  # type: ignore[no-untyped-call]
    _, height_px, width_px = published["input_size"]
    uncoloured: dict[str, Any] = {"mean": BLACK_IS_ZERO, "std": WHITE_IS_ONE}
    cut = create_transform(**published | uncoloured)
    resize = ResizeRule("crop", (height_px, width_px), published["interpolation"], cut.transforms[0].size)
    if row.preprocessing_note and row.resize.shorter_side_px:
        # timm rounds size / crop_pct down, so the half keeps it from landing one lower.
        uncoloured |= {"crop_pct": height_px / (row.resize.shorter_side_px + 0.5)}
        cut = create_transform(**published | uncoloured)
    return Upstream(resize, tuple(published["mean"]), tuple(published["std"]), cut)


def _torchvision(row: Row) -> Upstream:
    tags = [source.tag for source in row.weights if isinstance(source, HubWeights)]
    if not tags:
        raise WeightsError(f"{row.name} names no torchvision weights, so torchvision's preprocessing is not known.")
    transforms = get_model_weights(row.network.constructor)[tags[0]].transforms
    published = transforms()
    (size_px,), (shorter_side_px,) = published.crop_size, published.resize_size
    return Upstream(
        resize=ResizeRule("crop", (size_px, size_px), published.interpolation.value, shorter_side_px),
        mean=tuple(published.mean),
        std=tuple(published.std),
        cut=transforms(mean=BLACK_IS_ZERO, std=WHITE_IS_ONE),
    )
