"""What changes while it is looked at, read or served: nobody is told what is not so."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import httpx
import onnx
import onnxruntime as ort
import pytest

from export.repository import publish, staging
from service.app import create_app
from service.engines.embedded import _MEMORY_AGAIN_AFTER_S, EmbeddedEngine
from service.engines.fake import FakeEngine
from service.engines.freed_memory import hand_back
from service.engines.protocol import Entry
from service.engines.repository_folder import OnDisk
from service.entry_config import write_entry
from service.entry_files import file_sha256, onnx_path
from service.errors import EngineUnavailable
from service.integrity import check_files
from service.manifest import Accuracy
from service.settings import Settings
from service.workers import Workers
from tests.cards import classifier
from tests.conftest import FakeGateways
from tests.pictures import encoded, photograph
from tests.small_entry import ROW_NAME, small_graph, write_small_entry

JPEG = {"Content-Type": "image/jpeg"}
NAMED = f"/v1/classify?model={ROW_NAME}"


@pytest.fixture
async def engine(tmp_path: Path) -> Any:
    """On one small entry, which is loaded."""
    write_small_entry(tmp_path)
    opened = EmbeddedEngine(tmp_path, Workers(1))
    await opened.open()
    yield opened
    await opened.close()


async def entry_of(engine: EmbeddedEngine) -> Entry:
    return next(entry for entry in await engine.entries() if entry.name == ROW_NAME)


def replace(repository: Path, seed: int, away_s: float = 0.0) -> None:
    """As an export does; if that is interrupted between its two renames, the entry is away for a while."""
    with staging(repository, ROW_NAME) as folder:
        made = folder / "made"
        write_small_entry(made, seed=seed)
        for path in (made / ROW_NAME).iterdir():
            shutil.rmtree(folder / path.name, ignore_errors=True)
            path.rename(folder / path.name)
        shutil.rmtree(made)
        if away_s:
            old = (repository / ROW_NAME).rename(repository / f".old-{ROW_NAME}")
            time.sleep(away_s)
        publish(folder, repository, ROW_NAME)
        if away_s:
            shutil.rmtree(old)


async def test_an_entry_is_not_gone_between_the_two_renames_that_replace_it(
    engine: EmbeddedEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry, away = tmp_path / ROW_NAME, tmp_path / ".old"
    scan, looks = engine._folder.scan, 0

    def look_in_between() -> dict[str, OnDisk]:
        nonlocal looks
        looks += 1
        if looks == 1:
            entry.rename(away)
        found = scan()
        if looks == 1:
            away.rename(entry)
        return found

    monkeypatch.setattr(engine._folder, "scan", look_in_between)
    assert [card.name for card in await engine.cards()] == [ROW_NAME]
    assert looks == 2
    shutil.rmtree(entry)
    assert await engine.cards() == [], "what stays away is gone"


async def test_an_answer_has_the_labels_of_the_model_that_gave_it_while_others_are_still_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two entries are exported anew. The first one's new graph is in memory while the second is being opened."""

    def write(seed: int, labels: str) -> None:
        for name in ("first", "second"):
            shutil.rmtree(tmp_path / name, ignore_errors=True)
            names = tuple(f"{labels} {i}" for i in range(10))
            write_small_entry(tmp_path, name, seed=seed, variant_of=name, label_names=names)

    write(0, "old")
    opened, go_on = EmbeddedEngine._open_entry, threading.Event()

    def wait_with_the_second(self: EmbeddedEngine, entry: Path, *rest: Any) -> Any:
        if entry.name == "second":
            go_on.wait(20)
        return opened(self, entry, *rest)

    app = create_app(Settings(repository=tmp_path, workers=1, poll_interval_s=0.02, probe_after_s=0))
    picture, transport = encoded(photograph()), httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://g") as client:

        async def answer() -> Any:
            said = await client.post("/v1/classify?model=first&top_k=10", content=picture, headers=JPEG)
            return [(one["label"].split()[0], one["class_id"], one["score"]) for one in said.json()["predictions"]]

        before = await answer()
        monkeypatch.setattr(EmbeddedEngine, "_open_entry", wait_with_the_second)
        engine = app.state.gateway.engine
        write(7, "new")
        new = file_sha256(onnx_path(tmp_path / "first"))
        async with asyncio.timeout(10):
            while engine._loaded["first"].card.onnx_sha256 != new:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert await answer() == before, "the old card is known, so the old graph answers"
        go_on.set()
        async with asyncio.timeout(10):
            while (await answer())[0][0] == "old":  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert {score for *_, score in await answer()} != {score for *_, score in before}
        async with asyncio.timeout(10):
            while engine._replaced:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


@pytest.mark.timeout(60)
async def test_who_names_a_model_is_answered_while_its_entry_is_replaced_again_and_again(tmp_path: Path) -> None:
    write_small_entry(tmp_path)
    app = create_app(Settings(repository=tmp_path, workers=1, poll_interval_s=0.001, probe_after_s=0))
    picture, statuses, over = encoded(photograph()), [], asyncio.Event()
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://g") as client:

        async def ask() -> None:
            while not over.is_set():
                answer = await client.post(NAMED, content=picture, headers=JPEG)
                statuses.append(answer.status_code)
                await asyncio.sleep(0)  # what is refused at once has waited for nothing

        asking = asyncio.create_task(ask())
        for seed in range(20):
            await asyncio.to_thread(replace, tmp_path, seed, 0.01)
        over.set()
        await asking
        want = file_sha256(onnx_path(tmp_path / ROW_NAME))
        async with asyncio.timeout(10):
            while (await client.get(f"/v1/models/{ROW_NAME}")).json()["onnx_sha256"] != want:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    assert set(statuses) == {200}
    assert len(statuses) > 20


async def test_what_was_opened_is_what_was_checked(
    engine: EmbeddedEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check, checked = check_files, 0

    def replaced_right_after(entry: Path, card: Any) -> None:
        nonlocal checked
        check(entry, card)
        checked += 1
        if checked == 1:
            replace(tmp_path, seed=2)

    replace(tmp_path, seed=1)
    monkeypatch.setattr("service.engines.embedded.check_files", replaced_right_after)
    before = engine._loaded[ROW_NAME].card
    await engine.cards()
    assert engine._loaded[ROW_NAME].card == before, "neither the old card on the new graph"
    await engine.cards()
    assert engine._loaded[ROW_NAME].card.onnx_sha256 == file_sha256(onnx_path(tmp_path / ROW_NAME))


async def test_a_session_for_all_cores_is_not_made_of_a_file_that_was_spoilt_meanwhile(tmp_path: Path) -> None:
    card = write_small_entry(tmp_path)
    engine = EmbeddedEngine(tmp_path, Workers(2), idle_cores=True)
    await engine.open()
    idle = engine._idle_cores(card)
    assert idle is not None
    onnx.save(small_graph(seed=9), onnx_path(tmp_path / ROW_NAME))
    for _ in range(100):
        assert idle.session() is None
        idle.took(5.0, wide=False)
        await asyncio.sleep(0.01)
    assert engine._wide_sessions is not None
    assert len(engine._wide_sessions._failed) == 1, "and it is tried once"
    replace(tmp_path, seed=0)
    await engine.cards()
    assert not engine._wide_sessions._failed
    await engine.close()


async def test_a_model_that_did_not_fit_into_memory_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : std::bad_alloc")

    write_small_entry(tmp_path)
    engine = EmbeddedEngine(tmp_path, Workers(1))
    with monkeypatch.context() as patch:
        patch.setattr(ort, "InferenceSession", full)
        await engine.open()
        assert (await entry_of(engine)).refused == "memory"
    assert (await entry_of(engine)).refused == "memory", "not at every look"
    now_s = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now_s + _MEMORY_AGAIN_AFTER_S)
    assert (await entry_of(engine)).loaded
    await engine.close()


async def test_an_entry_of_another_shape_than_its_card_says_is_refused_and_what_it_replaces_goes_on(
    tmp_path: Path,
) -> None:
    write_small_entry(tmp_path)
    settings = Settings(repository=tmp_path, workers=1, poll_interval_s=0.01, probe_after_s=0)
    app = create_app(settings)
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://g") as client:
        with staging(tmp_path, ROW_NAME) as folder:
            shutil.rmtree(folder / "1")
            card = write_small_entry(folder, "made")
            (folder / "made" / "1").rename(folder / "1")
            shutil.rmtree(folder / "made")
            wrong = tuple(spec.__class__(spec.name, spec.dtype, (7,)) for spec in card.outputs)
            accuracy = Accuracy(91.0, "top-1", "digits", "tests/contract/test_changing_entries.py")
            fields = {"name": ROW_NAME, "outputs": wrong, "accuracy": accuracy, "label_names": tuple("0123456")}
            write_entry(card.__class__(**({name: getattr(card, name) for name in card.__slots__} | fields)), folder)
            publish(folder, tmp_path, ROW_NAME)
        metrics = app.state.gateway.metrics
        async with asyncio.timeout(10):
            while b'vision_model_refused{model="lenet5",reason="graph"} 1.0' not in metrics.exposition():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        answer = await client.post(NAMED, content=encoded(photograph()), headers=JPEG)
        assert answer.status_code == 200
        assert answer.json()["model"]["accuracy"] == 90.0


class SlowOnce(FakeEngine):
    """Every other look at what it has comes too late."""

    looks = 0

    async def entries(self) -> list[Entry]:
        self.looks += 1
        if self.looks % 2 == 0:
            raise EngineUnavailable("the list of models did not come in time")
        return await super().entries()


async def test_an_engine_that_is_slow_once_is_not_away() -> None:
    engine = SlowOnce([classifier("fake")])
    async with FakeGateways(Settings(workers=1, poll_interval_s=0.005), engine) as gateway:
        while engine.looks < 12:
            assert (await gateway.client.get("/health/ready")).status_code == 200
            await asyncio.sleep(0.005)
        engine.available = False
        async with asyncio.timeout(10):
            while (await gateway.client.get("/health/ready")).status_code == 200:  # noqa: ASYNC110
                await asyncio.sleep(0.005)


@pytest.mark.parametrize("how", ["replaced", "taken away", "unloaded"])
async def test_what_a_model_leaves_is_freed_and_handed_back_on_the_thread_that_loads(
    engine: EmbeddedEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Freed on the event loop's thread it would stop everybody for milliseconds; kept by glibc it would never go."""
    leaving = weakref.ref(engine._loaded[ROW_NAME])
    seen: list[tuple[str, bool]] = []

    def look() -> None:
        seen.append((threading.current_thread().name.split("_")[0], leaving() is None))
        hand_back()

    monkeypatch.setattr("service.engines.embedded.hand_back", look)
    if how == "unloaded":
        await engine.unload_model(ROW_NAME)
    else:
        shutil.rmtree(tmp_path / ROW_NAME) if how == "taken away" else replace(tmp_path, seed=2)
        await engine.entries()
    if how == "replaced":  # until the next look, for who still has the old card
        assert leaving() is not None
        await engine.entries()
    assert seen[-1] == ("model-loader", True)
