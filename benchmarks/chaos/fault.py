"""What a fault is: something that is done to a running gateway, and undone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.chaos.site import EngineName, Site


class NotRun(Exception):
    """The fault cannot be injected here; the sentence says why."""


class Broken(Exception):
    """Something that must hold did not."""


@dataclass(frozen=True)
class Surroundings:
    """How the gateway is started, where a fault needs that: another command, more environment, Triton by name."""

    command: list[str] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    triton_host: str = "127.0.0.1"


@dataclass(frozen=True)
class Fault:
    """inject        done on entering, undone on leaving; may raise NotRun, Broken
    held_s        how long it lasts
    not_on        engine → why it means nothing there
    surroundings  folder → how the gateway is started; None: as always, and shared with other faults
    """

    name: str
    inject: Callable[[Site], AbstractContextManager[None]]
    held_s: float = 3.0
    not_on: Mapping[EngineName, str] = field(default_factory=dict)
    surroundings: Callable[[Path], Surroundings] | None = None
