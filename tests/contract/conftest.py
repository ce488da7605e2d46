"""The engines under contract, each with the tiny repository behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.engines.embedded import EmbeddedEngine
from service.engines.fake import FakeEngine
from service.engines.protocol import Engine
from service.engines.triton import TritonEngine
from service.engines.triton_pool import TritonPool
from service.manifest import ModelCard
from service.workers import Workers
from tests.contract.tiny_repository import write_foreign_entry, write_tiny_repository
from tests.triton_server import TritonServer, require_triton


class Rig:
    """An engine whose repository does what it says: `slow` is slow by itself, `picky` fails by itself."""

    def __init__(self, engine: Engine, cards: list[ModelCard]) -> None:
        self.engine = engine
        self.written_cards = cards

    @contextmanager
    def slowly(self) -> Iterator[None]:
        yield

    @contextmanager
    def failing(self, model: str) -> Iterator[None]:
        yield


class FakeRig(Rig):
    """The fake runs no graph: slowness and failure are its switches."""

    def __init__(self, engine: FakeEngine, cards: list[ModelCard]) -> None:
        super().__init__(engine, cards)
        self._fake = engine

    @contextmanager
    def slowly(self) -> Iterator[None]:
        self._fake.delay_s = 0.4
        yield
        self._fake.delay_s = 0.0

    @contextmanager
    def failing(self, model: str) -> Iterator[None]:
        self._fake.failing.add(model)
        yield
        self._fake.failing.remove(model)


@pytest.fixture(scope="session")
def tiny_repository(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[ModelCard]]:
    """The folder and the cards written into it; with the litter that a real repository has."""
    folder = tmp_path_factory.mktemp("model_repository")
    cards = write_tiny_repository(folder)
    write_foreign_entry(folder / "foreign")
    (folder / "README.md").write_text("Not a model.\n")
    half_made = folder / ".staging-other"
    half_made.mkdir()
    (half_made / "config.pbtxt").write_text('name: "oth')
    return folder, cards


@pytest.fixture(scope="session")
def triton_server(
    tiny_repository: tuple[Path, list[ModelCard]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TritonServer]:
    require_triton()
    with TritonServer(tiny_repository[0], log=tmp_path_factory.mktemp("triton") / "log") as server:
        yield server


@pytest.fixture
async def triton(triton_server: TritonServer) -> AsyncIterator[TritonEngine]:
    """The engine alone, for what only Triton can do."""
    engine = TritonEngine(triton_server.url)
    await engine.open()
    yield engine
    await engine.close()


@pytest.fixture(params=["fake", "embedded", pytest.param("triton", marks=pytest.mark.triton)])
async def rig(request: pytest.FixtureRequest, tiny_repository: tuple[Path, list[ModelCard]]) -> AsyncIterator[Rig]:
    """Every engine in turn, open; Triton as the gateway sees it, through the pool."""
    folder, cards = tiny_repository
    rig: Rig
    if request.param == "fake":
        rig = FakeRig(FakeEngine(cards), cards)
    elif request.param == "embedded":
        rig = Rig(EmbeddedEngine(folder, Workers(2)), cards)
    else:
        rig = Rig(TritonPool(request.getfixturevalue("triton_server").url), cards)
    await rig.engine.open()
    yield rig
    await rig.engine.close()
