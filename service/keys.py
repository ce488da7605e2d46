"""API keys: made here, kept as hashes in a file, found again in constant time.

A line of the file is one key: `{"name": "camera", "sha256": "…", "rate_per_s": 5, "burst": 10, "max_tier": "standard",
"max_budget_ms": 150, "tasks": ["classify"]}`; all but the first two may be left out. `#` begins a remark.

Plain SHA-256 is enough: a slow hash (scrypt, Argon2) makes guessing dear where there is something to guess, a password.
These keys are 256 random bits of our own making; whoever has the file would have to try 2²⁵⁵ of them. A slow hash would
only cost every request some tens of milliseconds, and so make the door itself a way to keep the gateway busy.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
import time
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.settings import Tier

log = logging.getLogger(__name__)

KEY_PREFIX = "vg_"
_KEY_BYTES = 32
_LOOK_EVERY_S = 1.0

KeyTask = Literal["classify", "detect", "segment", "embed"]


class InvalidKeys(Exception):
    """The keys file cannot be used; which line, and why."""


class Key(BaseModel):
    """What the file says of one key; never the key itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    rate_per_s: float | None = Field(None, gt=0, le=1e6, allow_inf_nan=False)
    burst: int | None = Field(None, ge=1, le=1_000_000)
    max_tier: Tier | None = None
    max_budget_ms: float | None = Field(None, gt=0, allow_inf_nan=False)
    tasks: tuple[KeyTask, ...] | None = Field(None, min_length=1)


def new_key() -> str:
    """A fresh key of 256 random bits, 46 characters."""
    return KEY_PREFIX + secrets.token_urlsafe(_KEY_BYTES)


def key_sha256(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def parse_keys(text: str) -> tuple[Key, ...]:
    """Every key of the file. Raises InvalidKeys, naming the line; it never repeats what the line says."""
    keys: list[Key] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            key = Key.model_validate_json(line)
        except ValidationError as err:
            first = err.errors(include_url=False, include_input=False, include_context=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "the line"
            raise InvalidKeys(f"line {number}: {where}: {first['msg']}") from None
        if any(key.name == other.name or key.sha256 == other.sha256 for other in keys):
            raise InvalidKeys(f"line {number}: the name or the key is there twice")
        if key.burst is not None and key.rate_per_s is None:
            raise InvalidKeys(f"line {number}: burst goes with rate_per_s")
        keys.append(key)
    return tuple(keys)


class KeyRing:
    """The keys of a file, read again when it changes; a file that has become unusable leaves the keys as they were."""

    def __init__(self, path: Path) -> None:
        """Raises InvalidKeys if the file cannot be read or holds something else."""
        self._path = path
        self._seen = _signature(path)
        self._keys = _read(path)
        self._looked_s = time.monotonic()

    def find(self, presented: str) -> Key | None:
        """Whose key that is, None if nobody's. Every hash is compared in full, found or not."""
        self._look()
        digest = key_sha256(presented)
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.sha256, digest):
                found = key
        return found

    def _look(self) -> None:
        now_s = time.monotonic()
        if now_s - self._looked_s < _LOOK_EVERY_S:
            return
        self._looked_s = now_s
        signature = _signature(self._path)
        if signature == self._seen:
            return
        self._seen = signature
        try:
            self._keys = _read(self._path)
        except InvalidKeys as err:
            log.error("the keys stay as they were: %s", err)
        else:
            log.info("%s changed: %d keys now", self._path.name, len(self._keys))


def _signature(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _read(path: Path) -> tuple[Key, ...]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        reason = getattr(err, "strerror", None) or "not UTF-8"
        raise InvalidKeys(f"the keys file {path} cannot be read: {reason}") from None
    try:
        return parse_keys(text)
    except InvalidKeys as err:
        raise InvalidKeys(f"the keys file {path}, {err}") from None
