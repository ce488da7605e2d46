"""A weights file → named tensors. Nothing in the file is ever run."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from export.errors import WeightsError
from export.key_names import Renaming, as_they_are

WRAPPERS = ("state_dict", "model")
PARALLEL_PREFIX = "module."


def read_checkpoint(path: Path) -> OrderedDict[str, Tensor]:
    """Tensor name → tensor, freed from the usual wrappers. Raises WeightsError if the file is no such thing."""
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError, SafetensorError) as err:
        # torch's own message tells how to load it unsafely; that advice is not passed on.
        raise WeightsError(
            f"{path.name} cannot be read safely: neither safetensors nor a torch checkpoint of nothing but tensors."
        ) from err
    return _unwrap(content, path.name)


def _unwrap(content: Any, file_name: str) -> OrderedDict[str, Tensor]:
    while isinstance(content, Mapping):
        inner = next((content[name] for name in WRAPPERS if isinstance(content.get(name), Mapping)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, Mapping) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise WeightsError(f"{file_name} holds no table of tensors, nor one under {' or '.join(WRAPPERS)}.")
    prefix = PARALLEL_PREFIX if all(key.startswith(PARALLEL_PREFIX) for key in content) else ""
    tensors = OrderedDict((key.removeprefix(prefix), tensor) for key, tensor in content.items())
    return _with_versions_of(content, tensors)


def _with_versions_of(source: Any, tensors: OrderedDict[str, Tensor]) -> OrderedDict[str, Tensor]:
    """The tensors with the note that torch keeps beside a table: which version of each layer wrote it.

    torchvision's MNASNet reads it to know which of its two stems a file is for.
    """
    versions = getattr(source, "_metadata", None)
    if versions is not None:
        tensors._metadata = versions  # type: ignore[attr-defined]
    return tensors


def load_into(module: nn.Module, path: Path, rename: Renaming = as_they_are) -> None:
    """Fills the module with the file's tensors: every one of both sides, or WeightsError."""
    tensors = read_checkpoint(path)
    try:
        renamed = OrderedDict((rename(key, module), tensor) for key, tensor in tensors.items())
        module.load_state_dict(_with_versions_of(tensors, renamed), strict=True)
    except (KeyError, IndexError, ValueError) as err:
        raise WeightsError(f"{path.name} has a tensor name that cannot be translated: {err}.") from err
    except RuntimeError as err:
        reason = " ".join(str(err).split())[:300]
        raise WeightsError(f"{path.name} does not fit the network: {reason}") from err
