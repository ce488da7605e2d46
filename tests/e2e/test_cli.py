"""`vision` as a person types it: the real command, against a real gateway and without one."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.gateway_server import ROOT, GatewayServer, require_models, require_starter_models
from tests.pictures import encoded, photograph
from tests.vision_command import CLASSIFIER, DETECTOR, SEGMENTER, VISION, Run, environment, lines, vision


@pytest.fixture(params=["server", "in process"])
def asked(request: pytest.FixtureRequest, few_models: str) -> Callable[..., Run]:
    """`asked("classify", …)`: to the gateway at VISION_SERVER, or without one."""
    if request.param == "in process":
        return lambda *words: vision(*words, VISION_REPOSITORY=few_models)
    server: GatewayServer = request.getfixturevalue("default_gateway")
    return lambda *words: vision(*words, VISION_SERVER=server.url)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photographs, one of them deeper down; two that are broken; and what is no picture at all."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "deep" / "down").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    cat = (ROOT / "examples" / "chelsea.jpg").read_bytes()
    (folder / "a cat [1].jpg").write_bytes(cat)
    (folder / "broken.JPG").write_bytes(cat[:3000])
    (folder / "coffee.png").write_bytes(encoded(photograph("coffee"), "PNG"))
    (folder / "deep" / "down" / "astronaut.webp").write_bytes(encoded(photograph("astronaut"), "WEBP", quality=95))
    (folder / "no :cat:.png").write_text("no")
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden" / "x.jpg").write_bytes(cat)
    return folder


IN_ORDER = ["a cat [1].jpg", "broken.JPG", "coffee.png", "no :cat:.png", "deep/down/astronaut.webp"]


def test_a_folder_with_broken_pictures_is_answered_but_for_them(asked: Callable[..., Run], folder: Path) -> None:
    run = asked("classify", folder, "--json", "--model", CLASSIFIER, "--top-k", "2")
    assert run.returncode == 1, run.stderr
    said = lines(run)
    assert [one["file"] for one in said] == [str(folder / name) for name in IN_ORDER]
    problems = {Path(one["file"]).name: one["problem"]["type"] for one in said if "problem" in one}
    assert problems == {
        "broken.JPG": "urn:vision-gateway:problem:bad-image",
        "no :cat:.png": "urn:vision-gateway:problem:unsupported-media",
    }
    cat, coffee, astronaut = (one for one in said if "problem" not in one)
    assert cat["predictions"][0]["label"] == "Egyptian cat"
    assert coffee["predictions"][0]["label"] in {"espresso", "cup", "coffee mug"}
    assert (astronaut["model"]["name"], len(astronaut["predictions"])) == (CLASSIFIER, 2)
    assert "3 answered, 2 failed" in run.stderr
    assert f"{folder / 'no :cat:.png'}: " in run.stderr


def test_a_server_and_this_process_answer_alike(default_gateway: GatewayServer, folder: Path, few_models: str) -> None:
    words = ("detect", folder / "deep", "--json", "--model", DETECTOR, "--score-threshold", "0.3")
    with_server = vision(*words, "--server", default_gateway.url)
    without = vision(*words, VISION_REPOSITORY=few_models)
    assert with_server.returncode == without.returncode == 0
    assert lines(with_server)[0]["predictions"] == lines(without)[0]["predictions"]


def test_csv_and_json_say_the_same_and_overlays_are_drawn(
    asked: Callable[..., Run], folder: Path, tmp_path: Path
) -> None:
    words = ("segment", folder / "deep", folder / "broken.JPG", "--model", SEGMENTER, "--score-threshold", "0.3")
    run = asked(*words, "--csv", "--overlay", tmp_path / "drawn")
    assert run.returncode == 1, run.stderr
    *found, failed = csv.DictReader(io.StringIO(run.stdout))
    document, _ = lines(asked(*words, "--json"))
    assert [(row["label"], float(row["score"]), int(row["area_px"])) for row in found] == [
        (one["label"], one["score"], one["area_px"]) for one in document["predictions"]
    ]
    assert [{edge: float(row[edge]) for edge in ("xmin", "ymin", "xmax", "ymax")} for row in found] == [
        one["box"] for one in document["predictions"]
    ]
    assert (failed["file"], failed["label"]) == (str(folder / "broken.JPG"), "")
    assert "truncated" in failed["error"]

    assert [path.relative_to(tmp_path / "drawn") for path in (tmp_path / "drawn").rglob("*.*")] == [
        Path("down", "astronaut.webp")
    ]
    with Image.open(tmp_path / "drawn" / "down" / "astronaut.webp") as opened:
        assert opened.format == "WEBP"
        drawn = np.asarray(opened.convert("RGB")).astype(int)
    with Image.open(folder / "deep" / "down" / "astronaut.webp") as opened:
        plain = np.asarray(opened.convert("RGB")).astype(int)
    changed = np.abs(drawn - plain).max(axis=2) > 60
    for row in found:
        xmin, ymin, ymax = (round(float(row[edge])) for edge in ("xmin", "ymin", "ymax"))
        edge = np.zeros_like(changed)
        edge[ymin:ymax, xmin : xmin + 2] = True
        assert changed[edge].mean() > 0.3, row


def test_the_table_has_every_picture_and_its_surest_class(default_gateway: GatewayServer, folder: Path) -> None:
    run = vision("classify", str(folder / "*.*"), "-m", CLASSIFIER, "-k", "1", "--server", default_gateway.url)
    assert run.returncode == 1
    assert "a cat [1].jpg" in run.stdout
    assert "Egyptian cat" in run.stdout
    assert "broken.JPG" not in run.stdout
    assert "notes.txt: " in run.stderr  # what is named, a glob's matches included, is asked about


def test_a_name_of_any_bytes_is_shown_as_it_is(default_gateway: GatewayServer, tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/caf\xe9 [red].jpg"
    Path(os.fsdecode(name)).write_bytes((ROOT / "examples" / "chelsea.jpg").read_bytes())
    for how in ((), ("--csv",), ("--json",)):
        command = [VISION, "classify", tmp_path, *how, "--server", default_gateway.url]
        run = subprocess.run(command, env=environment(), cwd=ROOT, capture_output=True, timeout=60)
        assert run.returncode == 0, run.stderr
        if how == ("--json",):
            assert os.fsencode(json.loads(run.stdout)["file"]) == name
        else:
            assert b"caf\xe9 [red].jpg" in run.stdout


def test_several_globs_and_names_mean_each_picture_once(default_gateway: GatewayServer, folder: Path) -> None:
    globs = (f"{folder}/**/*.webp", str(folder / "deep"), folder / "deep" / "down" / "astronaut.webp")
    run = vision("classify", *globs, "--json", "--server", default_gateway.url)
    assert run.returncode == 0, run.stderr
    assert len(lines(run)) == 1


def test_models_and_route_say_what_the_gateway_says(asked: Callable[..., Run]) -> None:
    models = lines(asked("models", "--json"))
    assert {CLASSIFIER, DETECTOR, SEGMENTER} <= {model["name"] for model in models}
    accuracies = [model["accuracy"]["value"] for model in models if model["task"] == "classify"]
    assert accuracies == sorted(accuracies, reverse=True)
    table = asked("models", "--task", "classify").stdout
    assert "74.3 top-1" in table
    assert DETECTOR not in table

    chosen = asked("route", ROOT / "examples" / "chelsea.jpg", "--budget-ms", "5000")
    assert chosen.returncode == 0
    assert "5000 ms (custom)" in chosen.stdout
    assert "→" in chosen.stdout
    (document,) = lines(asked("route", "--task", "detect", "--model", DETECTOR, "--json"))
    assert (document["model"], document["routing"]["reason"]) == (DETECTOR, "pinned")
    refused = asked("route", "--budget-ms", "0.01")
    assert refused.returncode == 1
    assert "Refused: the budget is 0.01 ms" in refused.stdout


# --- the terminal


def test_a_bar_is_drawn_on_a_terminal_only(default_gateway: GatewayServer, folder: Path) -> None:
    words = [str(VISION), "classify", str(folder), "--json", "--model", CLASSIFIER, "--server", default_gateway.url]
    ours, theirs = pty.openpty()
    with subprocess.Popen(words, env=environment(TERM="xterm"), cwd=ROOT, stdout=subprocess.PIPE, stderr=theirs) as run:
        assert run.stdout is not None
        documents = run.stdout.read().splitlines()
        run.wait(60)
    os.close(theirs)
    drawn = _read_all(ours)
    assert "classify" in drawn
    assert "━" in drawn
    assert len([json.loads(line) for line in documents]) == len(IN_ORDER)
    assert "━" not in vision(*words[1:]).stderr


def _read_all(terminal: int) -> str:
    read = b""
    until_s = time.monotonic() + 5
    while time.monotonic() < until_s:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        read += piece
    os.close(terminal)
    return read.decode(errors="replace")


@pytest.mark.parametrize("where", ["server", "repository"])
def test_the_shell_completes_the_names_of_models_of_the_task(where: str, request: pytest.FixtureRequest) -> None:
    require_models()
    require_starter_models((DETECTOR,))
    more = {"VISION_SERVER": request.getfixturevalue("default_gateway").url} if where == "server" else {}

    def completed(line: str) -> list[str]:
        words = {"_VISION_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
        return vision(**words, **more).stdout.split()

    assert CLASSIFIER in completed("vision classify --model eff")
    assert completed("vision detect --model ssdlite_efficientnet_lite0_3") == [DETECTOR, f"{DETECTOR}_int8"]
    assert completed("vision detect --model eff") == []
    assert completed("vision classify --tier re") == ["realtime", "relaxed"]


def test_a_client_of_a_server_starts_without_the_server() -> None:
    program = "import service.cli.commands, sys; print(*sys.modules)"
    fresh = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"fastapi", "uvicorn", "onnxruntime", "pydantic", "tritonclient"} & set(fresh.stdout.split())
