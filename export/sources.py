"""Which weights are meant: what `--weights` says, and the sources of a row that it leaves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from export.catalogue.row import HubWeights, PackageWeights, Row, StarterWeights
from export.errors import WeightsError
from service.entry_files import file_sha256

Kind = Literal["first", "package", "hub", "starter", "file", "random"]


@dataclass(frozen=True, slots=True)
class FileWeights:
    """A checkpoint that somebody put on this disk."""

    path: Path
    sha256: str

    @property
    def identity(self) -> str:
        return f"file {self.sha256}"


@dataclass(frozen=True, slots=True)
class RandomWeights:
    """Seeded random numbers: for tests, and for measuring speed."""

    @property
    def identity(self) -> str:
        return "random"


Source = PackageWeights | HubWeights | StarterWeights | FileWeights | RandomWeights


@dataclass(frozen=True, slots=True)
class Choice:
    """What was asked for: `first` is the row's first source that can be reached."""

    kind: Kind
    path: Path | None = None

    @property
    def argument(self) -> str:
        """As it is written after --weights."""
        return f"file:{self.path}" if self.kind == "file" else self.kind


def parse_choice(text: str) -> Choice:
    """`hub`, `package`, `random`, `first` or `file:PATH`. Raises ValueError for anything else."""
    kind, colon, path = text.partition(":")
    match kind, colon, path:
        case "file", ":", path if path:
            return Choice("file", Path(path))
        case ("hub" | "package" | "starter" | "random" | "first") as plain, "", "":
            return Choice(plain)
    raise ValueError(f"{text!r} is none of hub, package, file:PATH, random")


def sources_of(row: Row, choice: Choice) -> tuple[Source, ...]:
    """The sources to try, in order, at least one. Raises WeightsError if the row has none of that kind."""
    if row.network.library == "starter" and choice.kind not in ("first", "starter"):
        raise WeightsError(f"{row.name} is trained as a whole; it has no weights but its own.")
    if choice.kind == "random":
        return (RandomWeights(),)
    if choice.path is not None:
        if not choice.path.is_file():
            raise WeightsError(f"there is no file {choice.path}.")
        return (FileWeights(choice.path, file_sha256(choice.path)),)
    kinds = {"package": PackageWeights, "hub": HubWeights, "starter": StarterWeights}
    wanted = kinds.get(choice.kind)
    found = tuple(source for source in row.weights if wanted is None or isinstance(source, wanted))
    if not found:
        raise WeightsError(f"{row.name} has no {choice.kind} weights; `--weights random` exports it untrained.")
    return found
