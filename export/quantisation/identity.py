"""What an INT8 variant is called and made from: enough to tell, in milliseconds, whether it is up to date."""

from __future__ import annotations

import hashlib
from pathlib import Path

from export.errors import ExportError
from export.quantisation.picture_folder import pictures_identity
from export.quantisation.ranges import Ranges, shipped_ranges
from service.manifest import ModelCard

# To be raised whenever the same graph and ranges would give another graph, or be judged by other gates.
QUANTISER_VERSION = 1
_OF_PICTURES = "pictures-"


class NoRanges(ExportError):
    """Nothing says how large this network's activations become."""


def int8_name(name: str) -> str:
    return f"{name}_int8"


def fitting_ranges(fp32: ModelCard) -> Ranges:
    """The shipped ranges of the entry's weights. Raises NoRanges if there are none."""
    ranges = shipped_ranges(fp32.name)
    if ranges is None or ranges.weights_sha256 != fp32.weights.sha256:
        raise NoRanges(
            f"no calibration ranges ship for these weights of {fp32.name}; give pictures with --calibration DIR."
        )
    return ranges


def int8_recipe(fp32: ModelCard, folder: Path | None) -> str:
    """Digest of everything that the variant is made from: FP32 entry, ranges or pictures, quantiser.

    folder  of pictures to calibrate on; None: the shipped ranges. Raises NoRanges or TooFewPictures.
    returns hex, of a folder's pictures with a word before it that says so
    """
    ranges = fitting_ranges(fp32).identity if folder is None else pictures_identity(folder)
    digest = hashlib.sha256(repr((QUANTISER_VERSION, fp32.recipe, ranges)).encode()).hexdigest()
    return digest if folder is None else f"{_OF_PICTURES}{digest}"


def of_own_pictures(variant: ModelCard) -> bool:
    """Whether it was calibrated on pictures of the user's own, which nobody else can make again."""
    return variant.recipe.startswith(_OF_PICTURES)
