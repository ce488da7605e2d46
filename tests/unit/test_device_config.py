"""config.pbtxt for a device: the text itself, and how an entry that is good gets it without being exported again."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from export.device_config import device_of, settle
from service.entry_config import card_from_config, config_text, read_entry
from service.entry_files import CONFIG_FILE, ONNX_CONFIG_FILE, onnx_path
from service.errors import InvalidEntry
from service.triton_config import ENGINE_CACHE, warm_batches
from tests.golden_configs import GOLDEN, golden_cards, golden_path
from tests.small_entry import write_small_entry


@pytest.mark.parametrize("name", golden_cards())
def test_the_text_is_the_committed_one_and_reads_back_as_the_card(name: str) -> None:
    text = golden_path(name).read_text(encoding="utf-8")
    assert config_text(golden_cards()[name]) == text, "run `python -m tests.golden_configs`, and read the difference"
    config = model_config_pb2.ModelConfig()
    text_format.Parse(text, config)
    assert card_from_config(config) == golden_cards()[name]


def test_no_golden_text_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(golden_cards())


def parsed(name: str) -> model_config_pb2.ModelConfig:
    config = model_config_pb2.ModelConfig()
    text_format.Parse(golden_path(name).read_text(encoding="utf-8"), config)
    return config


def test_only_the_version_that_the_card_means_is_served() -> None:
    assert {name: list(parsed(name).version_policy.specific.versions) for name in golden_cards()} == {
        **{name: [1] for name in golden_cards()},
        "plan": [3],
    }
    assert parsed("plan").default_model_filename == "model.plan"


def test_the_batches_that_are_warmed_are_those_profiled_that_fit() -> None:
    assert warm_batches(8, (1, 4, 64)) == (1, 4)
    assert warm_batches(0, (1, 4)) == (1,)
    assert warm_batches(32, ()) == (1,)
    assert [(w.batch_size, list(w.inputs["image"].dims)) for w in parsed("cpu").model_warmup] == [
        (1, [32, 32, 3]),
        (4, [32, 32, 3]),
    ]
    (alone,) = parsed("cpu-without-batching").model_warmup
    assert (alone.batch_size, list(alone.inputs["image"].dims)) == (1, [1, 32, 32, 3])


def test_tensorrt_inside_onnx_runtime_keeps_its_engines_and_sees_the_widest_range_of_batches_first() -> None:
    (accelerator,) = parsed("gpu-tensorrt").optimization.execution_accelerators.gpu_execution_accelerator
    said = dict(accelerator.parameters)
    assert accelerator.name == "tensorrt"
    assert said["trt_engine_cache_path"] == ENGINE_CACHE
    assert "precision_mode" not in said
    assert [warm_up.batch_size for warm_up in parsed("gpu-tensorrt").model_warmup] == [1, 8, 4]
    for name in ("auto", "cpu", "gpu", "plan"):
        assert not parsed(name).HasField("optimization")


def test_the_compose_file_mounts_the_engine_cache_where_the_config_says() -> None:
    compose = (Path(__file__).resolve().parents[2] / "docker-compose.yml").read_text(encoding="utf-8")
    assert f"- engines:{ENGINE_CACHE}\n" in compose


# --- an entry that is there


def test_another_device_changes_the_config_and_nothing_else(tmp_path: Path) -> None:
    card = write_small_entry(tmp_path)
    entry = tmp_path / card.name
    before = onnx_path(entry).stat()
    assert settle(entry, "cpu")
    assert read_entry(entry) == replace(card, device="cpu")
    assert onnx_path(entry).stat() == before
    assert not settle(entry, "cpu")
    assert not settle(entry, None)
    assert device_of(entry) == "cpu"
    assert device_of(tmp_path / "nothing") == "auto"
    assert sorted(path.name for path in entry.iterdir()) == ["1", CONFIG_FILE]


def test_a_config_of_an_older_exporter_is_brought_up_to_date(tmp_path: Path) -> None:
    card = write_small_entry(tmp_path)
    path = tmp_path / card.name / CONFIG_FILE
    new = path.read_text()
    policy = "version_policy {\n  specific {\n    versions: 1\n  }\n}\n"
    assert policy in new
    path.write_text(new.replace(policy, ""))
    assert settle(path.parent, None)
    assert path.read_text() == new


def test_a_reader_meanwhile_sees_one_text_or_the_other(tmp_path: Path) -> None:
    """The embedded engine and Triton read the file whenever they like."""
    entry = tmp_path / write_small_entry(tmp_path).name
    seen, broken, over = set[str](), list[str](), threading.Event()

    def look() -> None:
        while not over.is_set():
            try:
                seen.add(read_entry(entry).device)
            except InvalidEntry as err:
                broken.append(err.detail)

    reader = threading.Thread(target=look)
    reader.start()
    for _ in range(100):
        settle(entry, "cpu")
        settle(entry, "gpu")
    over.set()
    reader.join()
    assert not broken
    assert seen <= {"auto", "cpu", "gpu"}
    assert not (entry / ONNX_CONFIG_FILE).exists()
