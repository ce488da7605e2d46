"""A repository that moved, and entries that were tampered with, cut off or half written: refused alone, and said so."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from export import external_data
from service.cli.commands import app
from service.engines.embedded import EmbeddedEngine
from service.engines.protocol import Job
from service.engines.triton import TritonEngine
from service.entry_config import read_entry, write_entry
from service.entry_files import CONFIG_FILE, file_sha256, onnx_path
from service.errors import InvalidEntry
from service.integrity import EXTERNAL_DATA_FILE, EXTERNAL_DATA_GATE, check_entry
from service.manifest import ModelCard
from service.onnx_references import external_locations
from service.workers import Workers
from tests.contract.tiny_repository import expected, pictures
from tests.triton_server import TritonServer, require_triton


@pytest.fixture
def moved(tiny_repository: tuple[Path, list[ModelCard]], tmp_path: Path) -> Path:
    """The repository under another path: exported there, served here."""
    shutil.copytree(tiny_repository[0], tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "elsewhere" / "foreign")
    return tmp_path / "elsewhere"


def tamper(entry: Path) -> None:
    path = onnx_path(entry)
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)


def truncate(entry: Path) -> None:
    path = onnx_path(entry)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def half_write(entry: Path) -> None:
    onnx_path(entry).unlink()


def garble(entry: Path) -> None:
    (entry / CONFIG_FILE).write_text('name: "ti')


def vouch(entry: Path, **gates: str) -> None:
    """Makes the card true of the graph that lies there now."""
    card = read_entry(entry)
    write_entry(
        replace(card, onnx_sha256=file_sha256(onnx_path(entry)), verification=tuple(sorted(gates.items()))), entry
    )


def take_weights_from(entry: Path, location: str) -> None:
    """Rewrites the graph so that its weights lie in that file, whether it is there or not."""
    model = onnx.load(onnx_path(entry))
    for tensor in model.graph.initializer:
        if tensor.name == "to_classes":
            weights = numpy_helper.to_array(tensor).tobytes()
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", location), ("offset", "0"), ("length", str(len(weights)))):
                tensor.external_data.add(key=key, value=value)
            target = onnx_path(entry).parent / location
            if not target.exists():
                target.write_bytes(weights)
    onnx_path(entry).write_bytes(model.SerializeToString())


def refuse_digest(entry: Path) -> None:
    take_weights_from(entry, EXTERNAL_DATA_FILE)
    vouch(entry, external_data=f"{EXTERNAL_DATA_FILE} sha256 {'0' * 64}")


def refuse_unvouched(entry: Path) -> None:
    take_weights_from(entry, EXTERNAL_DATA_FILE)
    vouch(entry)


def refuse_outside(entry: Path) -> None:
    take_weights_from(entry, "../../outside.bin")
    vouch(entry)


def refuse_absolute(entry: Path) -> None:
    take_weights_from(entry, str((entry.parent / "outside.bin").resolve()))
    vouch(entry)


def refuse_domain(entry: Path) -> None:
    model = onnx.load(onnx_path(entry))
    next(node for node in model.graph.node if node.op_type == "Softmax").domain = "com.stranger"
    model.opset_import.append(helper.make_opsetid("com.stranger", 1))
    onnx_path(entry).write_bytes(model.SerializeToString())
    vouch(entry)


SPOILT = [
    (tamper, "digest"),
    (truncate, "digest"),
    (half_write, "incomplete"),
    (garble, "config"),
    (refuse_digest, "digest"),
    (refuse_unvouched, "external-data"),
    (refuse_outside, "external-data"),
    (refuse_absolute, "external-data"),
    (refuse_domain, "graph"),
]


@pytest.mark.parametrize(("spoil", "reason"), SPOILT, ids=[spoil.__name__ for spoil, _ in SPOILT])
async def test_a_spoilt_entry_is_refused_and_the_others_serve(
    moved: Path, caplog: pytest.LogCaptureFixture, spoil: object, reason: str
) -> None:
    spoil(moved / "tiny")  # type: ignore[operator]
    engine = EmbeddedEngine(moved, Workers(1))
    await engine.open()
    for _ in range(3):
        entries = {entry.name: entry for entry in await engine.entries()}
    assert entries["tiny"].refused == reason
    assert not entries["tiny"].loaded
    assert {name for name, entry in entries.items() if entry.loaded} == {"narrow", "picky", "single", "slow"}
    assert len([record for record in caplog.records if "refused: tiny" in record.message]) == 1, caplog.text
    assert (await engine.infer(Job("picky", pictures(1), ("embedding",)))).arrays["embedding"].shape == (1, 4)
    await engine.close()


@pytest.fixture
def beside(moved: Path) -> Path:
    """A repository that moved after the weights of `tiny` had been put beside its graph."""
    take_weights_from(moved / "tiny", EXTERNAL_DATA_FILE)
    data = onnx_path(moved / "tiny").with_name(EXTERNAL_DATA_FILE)
    vouch(moved / "tiny", external_data=f"{EXTERNAL_DATA_FILE} sha256 {file_sha256(data)}")
    again = moved.with_name("again")
    shutil.move(moved, again)
    return again


async def answers_as_before(engine: EmbeddedEngine | TritonEngine) -> None:
    await engine.open()
    pixels = pictures(2)
    outputs = await engine.infer(Job("tiny", pixels, ("probabilities",)))
    wanted = expected(pixels)["probabilities"].astype(np.float64)
    np.testing.assert_allclose(outputs.arrays["probabilities"].astype(np.float64), wanted, atol=1e-4)
    await engine.close()


async def test_weights_beside_the_graph_move_with_it(beside: Path) -> None:
    await answers_as_before(EmbeddedEngine(beside, Workers(1)))


@pytest.mark.triton
async def test_triton_finds_the_weights_beside_the_graph(beside: Path, tmp_path: Path) -> None:
    require_triton()
    with TritonServer(beside, tmp_path / "log", wait_for_all=False) as triton:
        states = triton.wait_for_states(5)
        assert states["tiny"][0] == "READY", states["tiny"][1]
        await answers_as_before(TritonEngine(triton.url))


async def test_a_mended_entry_is_taken_in(moved: Path) -> None:
    good = onnx_path(moved / "tiny").read_bytes()
    tamper(moved / "tiny")
    engine = EmbeddedEngine(moved, Workers(1))
    await engine.open()
    assert "tiny" not in {card.name for card in await engine.cards()}
    onnx_path(moved / "tiny").write_bytes(good)
    assert "tiny" in {card.name for card in await engine.cards()}
    await engine.close()


@pytest.mark.triton
def test_triton_refuses_a_tampered_entry_and_serves_the_others(moved: Path, tmp_path: Path) -> None:
    require_triton()
    tamper(moved / "tiny")
    with TritonServer(moved, tmp_path / "log", wait_for_all=False) as triton:
        states = triton.wait_for_states(len(list(moved.glob("[!.]*/config.pbtxt"))))
    assert states["tiny"][0] == "UNAVAILABLE"
    assert "vouches" in states["tiny"][1]
    assert {name for name, (state, _) in states.items() if state == "READY"} == {"narrow", "picky", "single", "slow"}


def test_vision_verify_says_which_entry_is_not_what_its_card_says(moved: Path) -> None:
    fine = CliRunner().invoke(app, ["verify", str(moved)])
    assert fine.exit_code == 0, fine.output
    assert "5 of 5 entries are whole" in fine.output
    tamper(moved / "tiny")
    spoilt = CliRunner().invoke(app, ["verify", str(moved)])
    assert spoilt.exit_code == 1
    assert "REFUSED (digest)  tiny: model.onnx has sha256" in spoilt.output
    assert "4 of 5 entries are whole" in spoilt.output
    assert CliRunner().invoke(app, ["verify", str(moved / "nothing")]).exit_code == 1


def test_weights_of_a_subgraph_are_found_as_well(tmp_path: Path) -> None:
    hidden = helper.make_tensor("hidden", TensorProto.FLOAT, [1], b"\0\0\0\0", raw=True)
    hidden.ClearField("raw_data")
    hidden.data_location = TensorProto.EXTERNAL
    hidden.external_data.add(key="location", value="somewhere.bin")
    constant = helper.make_node("Constant", [], ["y"], value=hidden)
    inner = helper.make_graph([constant], "inner", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])])
    chosen = helper.make_node("If", ["condition"], ["z"], then_branch=inner, else_branch=inner)
    graph = helper.make_graph([chosen], "outer", [], [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1])])
    path = tmp_path / "model.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    assert external_locations(path) == {"somewhere.bin"}


@pytest.mark.parametrize("content", [b"", b"not a graph at all", b"\x3a\xff\xff\xff\xff\x0f"])
def test_what_is_no_onnx_file_is_said_to_be_none(moved: Path, content: bytes) -> None:
    onnx_path(moved / "tiny").write_bytes(content)
    vouch(moved / "tiny")
    with pytest.raises(InvalidEntry, match="cannot be read") as raised:
        check_entry(moved / "tiny")
    assert raised.value.reason == "graph"


def test_export_and_service_mean_the_same_by_external_data() -> None:
    assert (external_data.GATE, external_data.DATA_FILE) == (EXTERNAL_DATA_GATE, EXTERNAL_DATA_FILE)
