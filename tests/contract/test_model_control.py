"""Models into memory and out of it: what every engine promises, asked of fake, embedded and triton alike."""

from __future__ import annotations

import asyncio

import pytest

from service.engines.protocol import Entry, Job, Outputs
from service.errors import EngineUnavailable, InvalidEntry, ModelUnavailable, UnknownModel
from tests.contract.conftest import Rig
from tests.contract.tiny_repository import pictures

WANTED = ("probabilities",)


async def entry_of(rig: Rig, name: str) -> Entry:
    return next(entry for entry in await rig.engine.entries() if entry.name == name)


async def test_entries_are_all_there_is_and_say_what_is_loaded(rig: Rig) -> None:
    entries = {entry.name: entry for entry in await rig.engine.entries()}
    assert {name for name, entry in entries.items() if entry.loaded} == {card.name for card in rig.written_cards}
    assert [entries[card.name].card for card in rig.written_cards] == rig.written_cards
    assert not [name for name in entries if name.startswith(".")]


async def test_what_is_unloaded_is_known_but_unavailable_until_it_is_loaded_again(rig: Rig) -> None:
    await rig.engine.entries()
    await rig.engine.unload_model("tiny")
    try:
        entry = await entry_of(rig, "tiny")
        assert not entry.loaded
        assert entry.card == next(card for card in rig.written_cards if card.name == "tiny")
        assert entry.refused == ""
        assert "tiny" not in {card.name for card in await rig.engine.cards()}
        with pytest.raises(ModelUnavailable):
            await rig.engine.infer(Job("tiny", pictures(1), WANTED))
        assert isinstance(await rig.engine.infer(Job("picky", pictures(1), WANTED)), Outputs)
    finally:
        await rig.engine.load_model("tiny")
    assert (await entry_of(rig, "tiny")).loaded
    assert isinstance(await rig.engine.infer(Job("tiny", pictures(1), WANTED)), Outputs)


async def test_twice_does_no_harm(rig: Rig) -> None:
    await rig.engine.entries()
    try:
        await rig.engine.unload_model("single")
        await rig.engine.unload_model("single")
    finally:
        await rig.engine.load_model("single")
    await rig.engine.load_model("single")
    assert (await entry_of(rig, "single")).loaded


async def test_a_run_that_has_begun_is_finished_before_its_model_goes(rig: Rig) -> None:
    await rig.engine.entries()
    with rig.slowly():
        running = asyncio.create_task(rig.engine.infer(Job("slow", pictures(1), WANTED)))
        await asyncio.sleep(0.1)
        try:
            await rig.engine.unload_model("slow")
            assert isinstance(await running, Outputs)
        finally:
            await rig.engine.load_model("slow")


async def test_what_is_not_in_the_repository_cannot_be_loaded(rig: Rig) -> None:
    await rig.engine.entries()
    with pytest.raises((UnknownModel, InvalidEntry)):
        await rig.engine.load_model("nobody")


async def test_a_closed_engine_loads_nothing(rig: Rig) -> None:
    await rig.engine.entries()
    await rig.engine.close()
    if rig.engine.name != "embedded":  # which has it in memory as long as the process lives
        with pytest.raises(EngineUnavailable):
            await rig.engine.load_model("tiny")
