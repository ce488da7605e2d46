"""`vision-export` as a person types it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from export.__main__ import app
from export.catalogue.registry import CATALOGUE, HUB_DEFAULT_NAMES, find
from export.hub import _probe
from export.repository import recipe
from export.sources import Choice, sources_of
from tests.small_entry import ROW_NAME, write_small_entry


def invoke(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


@pytest.fixture
def no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every address is behind a proxy that refuses connections."""
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("TORCH_HOME", "HF_HOME", "HF_HUB_CACHE", "HF_ENDPOINT", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    _probe.cache_clear()


def test_list_names_every_row() -> None:
    result = invoke("--list")
    assert result.exit_code == 0
    assert all(name in result.output for name in CATALOGUE)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("efficientnet_light0",), "efficientnet_lite0"),
        ((), "name at least one model"),
        (("resnet50", "--weights", "internet"), "none of hub, package, file:PATH, random"),
        (("resnet50", "mobilenet_v2", "--weights", "file:x.pth"), "one file fits one model"),
        (("mobilenet_v2", "--precision", "int4"), "neither fp32 nor int8"),
        (("mobilenet_v2", "--calibration", "."), "pictures are for --precision int8"),
        (("mobilenet_v2", "--precision", "int8", "--calibration", "nowhere"), "there is no folder nowhere"),
        (("mobilenet_v2", "--device", "tpu"), "'tpu' is none of auto, cpu, gpu, gpu-tensorrt"),
        (("ssdlite_efficientnet_lite0_256", "--precision", "fp16"), "fp16 is for classifiers"),
        (("fcos_resnet50_fpn", "--precision", "int8"), "int8 is for classifiers and the starter heads"),
        (("ssdlite_efficientnet_lite0_256", "--precision", "int8", "--calibration", "."), "its own ranges ship"),
        (("--no-such-option",), "No such option"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_says_what_to_type(words: tuple[str, ...], said: str) -> None:
    result = invoke(*words)
    assert result.exit_code == 2
    assert said in result.output


@pytest.mark.usefixtures("no_hub")
def test_an_unreachable_hub_is_a_failure_within_5_s_and_the_command_to_repeat_it(tmp_path: Path) -> None:
    start_s = time.monotonic()
    result = invoke(*HUB_DEFAULT_NAMES, "--weights", "hub", "--repository", str(tmp_path / "r"))
    assert time.monotonic() - start_s < 5
    assert result.exit_code == 1
    for name in HUB_DEFAULT_NAMES:
        assert f"{name}: failed: the torchvision hub cannot be reached" in result.output
        assert f"vision-export {name} --repository {tmp_path / 'r'} --weights hub" in result.output
    assert not (tmp_path / "r").exists()


@pytest.mark.usefixtures("no_hub")
def test_one_failure_does_not_stop_the_next(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(b"rubbish")
    result = invoke("resnet50", "efficientnet_b0", "--weights", "package", "--repository", str(tmp_path / "r"))
    assert result.exit_code == 1
    assert "resnet50: failed: resnet50 has no package weights" in result.output
    assert "efficientnet_b0: failed" in result.output


@pytest.mark.skipif(importlib.util.find_spec("tensorrt") is not None, reason="TensorRT is installed here")
def test_without_tensorrt_the_config_is_written_all_the_same_and_the_exit_code_is_3(tmp_path: Path) -> None:
    row = find(ROW_NAME)
    write_small_entry(tmp_path, recipe=recipe(row, sources_of(row, Choice("random"))[0]))
    words = (ROW_NAME, "--weights", "random", "--repository", str(tmp_path), "--device", "gpu")
    result = invoke(*words, "--tensorrt")
    assert result.exit_code == 3
    assert f"{ROW_NAME}: up to date" in result.output
    assert f"{ROW_NAME}: config.pbtxt rewritten for gpu." in result.output
    assert result.output.count("no TensorRT here") == 1
    assert "KIND_GPU" in (tmp_path / ROW_NAME / "config.pbtxt").read_text()
    back = invoke(*words[:-2], "--device", "auto", "--no-tensorrt")
    assert back.exit_code == 0
    assert "instance_group" not in (tmp_path / ROW_NAME / "config.pbtxt").read_text()
    assert invoke(*words).exit_code == invoke(*words[:-2]).exit_code == 0
    assert "KIND_GPU" in (tmp_path / ROW_NAME / "config.pbtxt").read_text()  # left as it was


def test_help_list_and_refusals_do_not_import_torch() -> None:
    heavy = "{'torch', 'timm', 'torchvision', 'onnx', 'onnxruntime', 'skimage'}"
    check = f"import sys, export.__main__; sys.exit(' '.join({heavy} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("vision-export efficientnet_lite", [f"efficientnet_lite{i}" for i in range(5)]),
        ("vision-export --all lenet", ["lenet5"]),
        ("vision-export --prec", ["--precision"]),
        ("vision-export --import x --shorter", ["--shorter-side"]),
    ],
)
def test_the_shell_completes_names_and_the_options_of_the_command_meant(line: str, offered: list[str]) -> None:
    asked = {"_VISION_EXPORT_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    command = Path(sys.executable).with_name("vision-export")
    done = subprocess.run([command], env={**os.environ, **asked}, capture_output=True, text=True)
    assert done.stdout.split() == offered, done.stderr
