"""Measured profiles as JSON, to plan for a device that is not here: format 1.

    {"format": 1,
     "profiles": [{"model": "efficientnet_lite0", "task": "classify", "labels": "imagenet-1k",
                   "accuracy": 75.1, "metric": "top-1", "dataset": "imagenet-1k",
                   "device": "AMD EPYC, onnxruntime 1.31.1, 1 thread", "alpha_ms": 0.0, "beta_ms": 4.8,
                   "p50_ms": {"1": 4.7, "8": 39.6}, "max_batch_size": 32,
                   "resize": {"mode": "crop", "size_hw": [224, 224], "shorter_side_px": 256}}]}

Written on the device by `vision plan --write-profiles`, out of the entries' cards. Nothing in it is guessed: an entry
that was not measured, or has no accuracy, is not in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.entry_config import read_entry
from service.errors import InvalidEntry
from service.manifest import ModelCard, Profile, ResizeRule

FORMAT = 1


class InvalidProfiles(ValueError):
    """A file that is not one of ours; the sentence says where it is wrong."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One model on one device. Models whose `yardstick` is the same can stand in for one another."""

    model: str
    task: str
    labels: str
    accuracy: float
    metric: str
    dataset: str
    max_batch_size: int
    resize: ResizeRule
    profile: Profile

    @property
    def yardstick(self) -> tuple[str, str, str, str]:
        return (self.task, self.labels, self.metric, self.dataset)

    @property
    def on_cores(self) -> bool:
        """Whether it was measured on a thread of a CPU, as the exporter does; else on a GPU."""
        return self.profile.device.endswith("thread")


def measured_in(repository: Path) -> list[Measured]:
    """What the repository's cards say, by name, without entries that are broken, untrained or were not measured."""
    found = []
    for entry in sorted(repository.iterdir()) if repository.is_dir() else []:
        try:
            card = read_entry(entry)
        except InvalidEntry:
            continue
        if card.profile is not None and card.accuracy is not None and card.weights.trained:
            found.append(_of_card(card))
    return found


def _of_card(card: ModelCard) -> Measured:
    assert card.accuracy is not None and card.profile is not None  # noqa: S101, PT018
    accuracy, labels = card.accuracy, "\n".join(card.label_names) or card.label_set
    names = (accuracy.value, accuracy.metric, accuracy.dataset)
    return Measured(card.name, card.task, labels, *names, card.max_batch_size, card.resize, card.profile)


def write_profiles(profiles: Iterable[Measured], path: Path) -> None:
    """Writes the file whole or not at all."""
    lines = [json.dumps(_document(one), ensure_ascii=False) for one in profiles]
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(f'{{"format": {FORMAT}, "profiles": [\n ' + ",\n ".join(lines) + "\n]}\n", encoding="utf-8")
    draft.replace(path)


def _document(one: Measured) -> dict[str, Any]:
    resize, profile = one.resize, one.profile
    return {
        **{name: getattr(one, name) for name in ("model", "task", "labels", "accuracy", "metric", "dataset")},
        **{name: getattr(profile, name) for name in ("device", "alpha_ms", "beta_ms")},
        "p50_ms": {str(batch): ms for batch, ms in profile.p50_ms_by_batch},
        "max_batch_size": one.max_batch_size,
        "resize": {"mode": resize.mode, "size_hw": resize.size_hw, "shorter_side_px": resize.shorter_side_px},
    }


def read_profiles(path: Path) -> list[Measured]:
    """What `write_profiles` wrote. Raises InvalidProfiles."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] != FORMAT:
            raise InvalidProfiles(f"{path} has format {document['format']!r}, this version reads {FORMAT}.")
        return [_read(one) for one in document["profiles"]]
    except OSError as err:
        raise InvalidProfiles(f"{path} cannot be read: {err.strerror}.") from err
    except KeyError as err:
        raise InvalidProfiles(f"{path} is not a file of profiles: {err} is missing.") from err
    except InvalidProfiles:
        raise
    except (ValueError, TypeError, AttributeError) as err:
        raise InvalidProfiles(f"{path} is not a file of profiles: {err}.") from err


def _read(one: dict[str, Any]) -> Measured:
    resize = one["resize"]
    height, width = resize["size_hw"]
    p50_ms = tuple((int(batch), float(ms)) for batch, ms in one["p50_ms"].items())
    return Measured(
        model=str(one["model"]),
        task=str(one["task"]),
        labels=str(one["labels"]),
        accuracy=float(one["accuracy"]),
        metric=str(one["metric"]),
        dataset=str(one["dataset"]),
        max_batch_size=int(one["max_batch_size"]),
        resize=ResizeRule(resize["mode"], (int(height), int(width)), "bilinear", resize["shorter_side_px"]),
        profile=Profile(str(one["device"]), float(one["alpha_ms"]), float(one["beta_ms"]), p50_ms),
    )
