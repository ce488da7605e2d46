"""Many pictures through the gateway's HTTP, a few at a time, with a progress bar."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
from rich.console import Console
from rich.progress import track

Key = TypeVar("Key")
_TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}


class Refused(Exception):
    """The gateway did not answer a picture; the message is what it said."""


@dataclass
class Run:
    """What was learnt beside the answers: which model answered how often, and milliseconds in the gateway."""

    models: Counter[str] = field(default_factory=Counter)
    total_ms: list[float] = field(default_factory=list)


def _key() -> dict[str, str]:
    """The header of the key in $VISION_API_KEY, if there is one: an option would stand in the list of processes."""
    key = os.environ.get("VISION_API_KEY")
    return {"Authorization": f"Bearer {key}"} if key else {}


@dataclass(frozen=True, slots=True)
class Gateway:
    """Where to ask, and what every request says (`model`, `tier`, …)."""

    url: str
    query: dict[str, str]
    parallel: int = 2

    def ask(
        self, task: str, pictures: list[tuple[Key, Path]], take: Callable[[Key, dict[str, Any]], None], console: Console
    ) -> Run:
        """Asks for each picture and hands its key and answer to `take`, in their order. Raises Refused."""
        run = Run()
        with httpx.Client(timeout=120.0, headers=_key()) as client, ThreadPoolExecutor(self.parallel) as pool:

            def one(item: tuple[Key, Path]) -> dict[str, Any]:
                return self._one(client, task, item[1])

            answers = pool.map(one, pictures)
            for (key, _), answer in zip(
                track(pictures, task, console=console, transient=True, disable=not console.is_terminal),
                answers,
                strict=True,
            ):
                run.models[answer["model"]["name"]] += 1
                run.total_ms.append(answer["timing_ms"]["total"])
                take(key, answer)
        return run

    def _one(self, client: httpx.Client, task: str, picture: Path) -> dict[str, Any]:
        headers = {"Content-Type": _TYPES.get(picture.suffix.lower(), "application/octet-stream")}
        try:
            response = client.post(
                f"{self.url}/v1/{task}", params=self.query, content=picture.read_bytes(), headers=headers
            )
        except httpx.TransportError as err:
            raise Refused(f"{self.url} does not answer: {err}") from err
        document: dict[str, Any] = response.json()
        if response.status_code != 200:
            raise Refused(f"{picture.name}: {response.status_code} {document.get('detail', '')}")
        return document
