"""Every exit code of `vision`, provoked."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from tests.gateway_server import ROOT, GatewayServer
from tests.scripted_server import READY, Reply, ScriptedServer, problem
from tests.vision_command import CLASSIFIER, SLOW_DETECTOR, VISION, environment, vision

MANY = 400


def many_pictures(folder: Path) -> Path:
    folder.mkdir()
    for number in range(MANY):
        (folder / f"{number:03}.jpg").symlink_to(ROOT / "examples" / "chelsea.jpg")
    return folder


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("classify", "nowhere.jpg"), "there is no nowhere.jpg"),
        (("classify", "deploy"), "holds no picture"),
        (("classify", "nowhere/*.jpg"), "holds no picture"),
        (("classify", "examples", "--json", "--csv"), "choose one"),
        (("classify", "examples", "--tier", "hasty"), "hasty"),
        (("classify", "examples", "--server", "127.0.0.1:1"), "must begin with http"),
        (("classify", "examples", "--overlay", "examples"), "is a picture you gave"),
        (("classify", "examples/chelsea.jpg", "tests/../examples/chelsea.jpg", "--overlay", "x"), "several pictures"),
        (("route", "nowhere.jpg"), "nowhere.jpg"),
    ],
)
def test_wrong_usage_is_2_and_says_what_is_wrong(words: tuple[str, ...], said: str) -> None:
    run = vision(*words)
    assert run.returncode == 2
    assert said in " ".join(run.stderr.replace("│", " ").split())


def test_what_is_wrong_for_every_picture_is_2_and_said_once(default_gateway: GatewayServer) -> None:
    folder = "examples"
    for words, said in (
        (("classify", folder, "--model", "resnet5000"), "nobody knows a model named 'resnet5000'"),
        (("detect", folder, "--model", CLASSIFIER), "is there to classify, not to detect"),
        (("classify", folder, "--min-accuracy", "99.9"), "99.9"),
        (("segment", folder, "--kind", "semantic", "--score-threshold", "0.5"), "goes with kind=instance"),
    ):
        run = vision(*words, "--server", default_gateway.url)
        assert run.returncode == 2, words
        assert run.stderr.count(said) == 1


def test_no_gateway_is_3(tmp_path: Path) -> None:
    away = vision("classify", "examples", "--server", "http://127.0.0.1:1")
    assert (away.returncode, away.stdout) == (3, "")
    assert "http://127.0.0.1:1 does not answer" in away.stderr
    empty = vision("classify", "examples", VISION_REPOSITORY=str(tmp_path))
    assert empty.returncode == 3
    assert "`vision-export --default` makes some" in empty.stderr
    with ScriptedServer(problem(503, "not-ready")) as server:
        waking = vision("models", "--server", server.url)
    assert (waking.returncode, waking.stderr.strip()) == (3, f"{server.url} is not ready: because of not-ready")
    with ScriptedServer(READY, Reply(502, b"gone")) as server:
        gone = vision("classify", "examples", "--server", server.url)
    assert gone.returncode == 3


def test_a_key_that_is_refused_is_4_and_the_key_given_is_sent() -> None:
    with ScriptedServer(READY, problem(401, "unauthorized")) as server:
        run = vision("classify", "examples", "--server", server.url, VISION_API_KEY="s3cret")
        assert (run.returncode, run.stderr.strip()) == (4, "because of unauthorized (401 unauthorized)")
        assert server.asked[-1].headers["Authorization"] == "Bearer s3cret"


def test_a_variable_that_is_wrong_is_2_and_named() -> None:
    run = vision("serve", VISION_PORT="http")
    assert run.returncode == 2
    assert "VISION_PORT" in run.stderr


@pytest.mark.parametrize(
    ("words", "settings", "said"),
    [
        (("plan", "--rps", "1"), {"VISION_PORT": "abc"}, "VISION_PORT"),
        (("serve",), {"VISION_ENGINE": "triton", "VISION_TRITON_URL": "foo"}, "'foo' is not HOST:PORT"),
        (("models",), {"VISION_ENGINE": "triton", "VISION_TRITON_URL": "foo"}, "'foo' is not HOST:PORT"),
        (("serve",), {"VISION_API_KEY_FILE": "keys.jsonl"}, "did you mean VISION_API_KEYS_FILE"),
        (("models",), {"VISION_WORKER": "2"}, "did you mean VISION_WORKERS"),
    ],
)
def test_a_wrong_setting_is_2_and_one_sentence(words: tuple[str, ...], settings: dict[str, str], said: str) -> None:
    run = vision(*words, **settings)
    assert run.returncode == 2, run.stderr
    assert said in " ".join(run.stderr.replace("│", " ").split())
    assert "Traceback" not in run.stderr


def test_the_gateway_of_a_command_opens_no_door_and_needs_no_key(few_models: str) -> None:
    """As in a container whose settings are those of a server."""
    doors = {"VISION_HOST": "0.0.0.0", "VISION_API_KEYS_FILE": "/nowhere/keys.jsonl", "VISION_REPOSITORY": few_models}
    run = vision("models", **doors)
    assert run.returncode == 0, run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("where", ["server", "in process"])
def test_ctrl_c_is_130_after_what_was_answered(
    where: str, request: pytest.FixtureRequest, tmp_path: Path, few_models: str
) -> None:
    pictures = many_pictures(tmp_path / "pictures")
    more = {"VISION_REPOSITORY": few_models}
    if where == "server":
        more = {"VISION_SERVER": request.getfixturevalue("default_gateway").url}
    command = [str(VISION), "detect", str(pictures), "--json", "--model", SLOW_DETECTOR]
    with subprocess.Popen(
        command, env=environment(**more), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, said = process.stdout.read(), process.stderr.read()
        assert process.wait(30) == 130
    answered = [first, *rest.splitlines()]
    assert all(json.loads(line)["model"]["name"] == SLOW_DETECTOR for line in answered)
    assert len(answered) < MANY
    assert said.startswith("Interrupted.\n")
    assert f"{len(answered)} answered" in said
    assert "Traceback" not in said


def test_a_gateway_that_goes_away_in_between_is_3_after_what_was_answered(few_models: str, tmp_path: Path) -> None:
    pictures = many_pictures(tmp_path / "pictures")
    with GatewayServer(tmp_path / "log", {"VISION_REPOSITORY": few_models}) as gateway:
        gateway.wait_for("/health/ready")
        command = [str(VISION), "detect", str(pictures), "--json", "--model", SLOW_DETECTOR, "--server", gateway.url]
        with subprocess.Popen(
            command, env=environment(), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            first = process.stdout.readline()
            gateway.terminate()
            rest, said = process.stdout.read(), process.stderr.read()
            assert process.wait(60) == 3, said
    answered = [first, *rest.splitlines()]
    assert all(json.loads(line)["model"]["name"] == SLOW_DETECTOR for line in answered)
    assert gateway.url in said
    assert f"{len(answered)} answered" in said
