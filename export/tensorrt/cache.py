"""Plans that this host built, kept between runs. A plan is code: one that came from elsewhere is never taken.

<folder>/KEY/model.plan     KEY is a digest of all that a plan depends on
<folder>/KEY/record.json    its sha256, what KEY is made of, and a seal
<folder>/seal               random bytes that only the owner reads: who does not have them cannot seal a plan
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import shutil
import stat
from dataclasses import asdict, dataclass
from pathlib import Path

from export.errors import ExportError
from export.tensorrt.builder import BatchRange, Target
from service.entry_files import PLAN_FILE

RECORD_FILE = "record.json"
SEAL_FILE = "seal"


class ForeignPlan(ExportError):
    """A plan that this host's cache did not build."""


@dataclass(frozen=True, slots=True)
class Key:
    """All that a plan depends on. `onnx_sha256`: of the graph that TensorRT was given."""

    onnx_sha256: str
    tensorrt: str
    compute_capability: str
    batches: BatchRange

    @classmethod
    def of(cls, onnx_sha256: str, target: Target, batches: BatchRange) -> Key:
        return cls(onnx_sha256, target.tensorrt, target.compute_capability, batches)

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


class PlanCache:
    """A folder of plans. Raises ForeignPlan, on opening, if strangers may write to it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if os.name != "nt" and folder.stat().st_mode & stat.S_IWOTH:
            raise ForeignPlan(f"{folder} can be written by everybody, so its plans may be anybody's: chmod o-w it.")
        self._folder = folder
        self._secret = self._read_seal()

    def find(self, key: Key) -> bytes | None:
        """The plan, None if it was never built. Raises ForeignPlan, with the sha256, if something else lies there."""
        folder = self._folder / key.digest
        if not folder.is_dir():
            return None
        try:
            plan = (folder / PLAN_FILE).read_bytes()
        except OSError as err:
            raise ForeignPlan(f"{folder} holds no plan that can be read: delete it.") from err
        sha256 = hashlib.sha256(plan).hexdigest()
        if not self.vouches(key.digest, sha256):
            raise ForeignPlan(f"{folder / PLAN_FILE} was not built here (sha256 {sha256}): delete it.")
        return plan

    def keep(self, key: Key, plan: bytes) -> str:
        """The plan's sha256. It is in the cache now, whole or not at all."""
        sha256 = hashlib.sha256(plan).hexdigest()
        draft = self._folder / f".draft-{key.digest[:16]}-{os.getpid()}"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        (draft / PLAN_FILE).write_bytes(plan)
        record = {**asdict(key), "sha256": sha256, "bytes": len(plan), "seal": self._seal(key.digest, sha256)}
        (draft / RECORD_FILE).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        place = self._folder / key.digest
        if place.exists():
            shutil.rmtree(place)
        draft.rename(place)
        return sha256

    def vouches(self, key_digest: str, sha256: str) -> bool:
        """Whether a plan of that digest was built here for that key."""
        try:
            text = (self._folder / key_digest / RECORD_FILE).read_text(encoding="utf-8")
            seal = str(json.loads(text)["seal"])
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return hmac.compare_digest(seal, self._seal(key_digest, sha256))

    def _seal(self, key_digest: str, sha256: str) -> str:
        return hmac.new(self._secret, f"{key_digest} {sha256}".encode(), hashlib.sha256).hexdigest()

    def _read_seal(self) -> bytes:
        path = self._folder / SEAL_FILE
        try:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(secrets.token_bytes(32))
        except FileExistsError:
            pass
        return path.read_bytes()
