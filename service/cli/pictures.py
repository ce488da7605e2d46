"""What was typed → the pictures that are meant."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

import typer

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
_MAGIC = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class PictureFile:
    """A picture to ask about. `inside` is its path below the folder that was typed, or its name."""

    path: Path
    inside: PurePath


def find_pictures(typed: list[str]) -> list[PictureFile]:
    """Every picture once, in the order typed, folders and globs in order of their names.

    A file that was named is taken whatever it is called; of a folder only JPEG, PNG and WebP by suffix, and nothing
    hidden. Raises BadParameter for a name that is neither file nor folder, and for what holds no picture.
    """
    found: dict[Path, PictureFile] = {}
    for text in typed:
        meant = list(_meant(text))
        for picture in meant:
            found.setdefault(picture.path, picture)
        if not meant:
            raise typer.BadParameter(f"{text} holds no picture ({', '.join(sorted(SUFFIXES))}).", param_hint="FILES")
    return list(found.values())


def check_targets(pictures: list[PictureFile], folder: Path) -> None:
    """Raises BadParameter if two pictures would be drawn into one file, or one over a picture that was given."""
    twice = [str(inside) for inside, count in Counter(picture.inside for picture in pictures).items() if count > 1]
    if twice:
        raise typer.BadParameter(
            f"several pictures are called {twice[0]}; ask for them one by one.", param_hint="--overlay"
        )
    given = {picture.path.resolve() for picture in pictures}
    for picture in pictures:
        if (folder / picture.inside).resolve() in given:
            raise typer.BadParameter(f"{folder / picture.inside} is a picture you gave.", param_hint="--overlay")


def _meant(text: str) -> Iterator[PictureFile]:
    path = Path(text)
    if path.is_dir():
        yield from _in_folder(path, path)
    elif path.exists():
        yield PictureFile(path, PurePath(path.name))
    elif _MAGIC & set(text):
        yield from _of_glob(text)
    else:
        raise typer.BadParameter(f"there is no {text}.", param_hint="FILES")


def _of_glob(pattern: str) -> Iterator[PictureFile]:
    # The part before the first * ? or [ is what pictures are placed below.
    parts = Path(pattern).parts
    first = next(i for i, part in enumerate(parts) if _MAGIC & set(part))
    root = Path(*parts[:first])
    for path in sorted(root.glob(str(PurePath(*parts[first:])))):
        inside = path.relative_to(root)
        if any(part.startswith(".") for part in inside.parts):
            continue
        if path.is_dir():
            yield from _in_folder(path, root)
        else:
            yield PictureFile(path, inside)


def _in_folder(folder: Path, root: Path) -> Iterator[PictureFile]:
    # Links to folders are not followed: they may lead round in a circle.
    for at, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(at, name)
            if path.suffix.lower() in SUFFIXES and not name.startswith("."):
                yield PictureFile(path, path.relative_to(root))
