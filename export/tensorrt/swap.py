"""A plan in an entry: ONNX Runtime answers until one rename, and after another one again.

<entry>/config.pbtxt                what is served: the only switch, replaced by rename
<entry>/config.onnxruntime.pbtxt    what was served before the plan; the way back
<entry>/1/model.onnx                stays where it is
<entry>/2/model.plan                put there whole, while the config still says `version_policy: 1`; the next one
                                    goes to 3, so that no version folder ever changes under a reader

A Triton that runs has what it loaded in memory: it takes the new config when it is told to load the model again.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

from export.device_config import settle
from export.errors import RepositoryError
from service.entry_config import read_entry, read_onnx_entry, write_entry
from service.entry_files import CONFIG_FILE, ONNX_CONFIG_FILE, PLAN_FILE
from service.manifest import VERSION, ModelCard


def next_version(entry: Path) -> str:
    """A version folder that the entry does not have yet."""
    return str(1 + max((int(path.name) for path in entry.iterdir() if path.name.isdecimal()), default=int(VERSION)))


def swap_in(entry: Path, card: ModelCard, plan: bytes) -> None:
    """From here on the entry is served as `card` says, which has the plan. Raises RepositoryError; nothing has changed.

    Killed at any point, the entry is served as before or as after.
    """
    draft = entry / f".plan-{os.getpid()}"
    try:
        onnx = read_onnx_entry(entry)
        # An entry of an older exporter does not say which version it serves: a second folder would be taken at once.
        settle(entry, None)
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        (draft / PLAN_FILE).write_bytes(plan)
        draft.rename(entry / card.version)
        write_entry(onnx, entry, ONNX_CONFIG_FILE)
        write_entry(card, entry)
    except OSError as err:
        raise RepositoryError(f"{entry} cannot be written: {err.strerror}.") from err
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    _drop_plans(entry, but=card.version)


def revert(entry: Path) -> bool:
    """Whether the entry served a plan; now ONNX Runtime answers again. One rename. Raises RepositoryError."""
    if read_entry(entry).plan is None:
        return False
    try:
        (entry / ONNX_CONFIG_FILE).replace(entry / CONFIG_FILE)
    except OSError as err:
        raise RepositoryError(f"{entry} cannot go back: {err.strerror}.") from err
    _drop_plans(entry, but=VERSION)
    return True


def as_plan(card: ModelCard, **changes: object) -> ModelCard:
    """The card of the same model served from a plan, which wants a GPU."""
    return replace(card, backend="tensorrt", device="gpu", **changes)  # type: ignore[arg-type]


def _drop_plans(entry: Path, but: str) -> None:
    for path in entry.iterdir():
        if path.name.isdecimal() and path.name not in (VERSION, but):
            shutil.rmtree(path, ignore_errors=True)
