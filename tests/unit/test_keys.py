"""The keys file: what stands in it, and what happens while it is edited."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from service import keys_command
from service.clients import client_with
from service.errors import Forbidden
from service.keys import InvalidKeys, Key, KeyRing, key_sha256, new_key, parse_keys
from service.settings import Settings


def line(name: str, key: str, **rest: Any) -> str:
    return json.dumps({"name": name, "sha256": key_sha256(key), **rest}) + "\n"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are looked at on every request."""
    monkeypatch.setattr("service.keys._LOOK_EVERY_S", 0.0)


def test_a_key_has_256_random_bits_and_no_two_are_alike() -> None:
    keys = {new_key() for _ in range(1000)}
    assert len(keys) == 1000
    assert all(key.startswith("vg_") and len(key) == 3 + 43 for key in keys)


def test_only_the_hash_is_kept_and_it_is_plain_sha256() -> None:
    key = new_key()
    (parsed,) = parse_keys(line("camera", key))
    assert parsed.sha256 == hashlib.sha256(key.encode()).hexdigest()
    assert key not in repr(parsed)


def test_remarks_and_empty_lines_are_passed_over() -> None:
    assert parse_keys("# ours\n\n  # more\n" + line("a", "x")) == (Key(name="a", sha256=key_sha256("x")),)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("not json", "line 1"),
        ("\n" + '{"name": "a"}', "line 2: sha256"),
        ('{"name": "a b", "sha256": "%s"}' % ("0" * 64), "name"),
        ('{"name": "a", "sha256": "vg_secret"}', "sha256"),
        (line("a", "x", rate=5), "rate"),
        (line("a", "x", rate_per_s=0), "rate_per_s"),
        (line("a", "x", rate_per_s="nan"), "rate_per_s"),
        (line("a", "x", burst=5), "burst goes with rate_per_s"),
        (line("a", "x", max_tier="gold"), "max_tier"),
        (line("a", "x", tasks=[]), "tasks"),
        (line("a", "x", tasks=["paint"]), "tasks"),
        (line("a", "x") + line("a", "y"), "line 2: the name or the key is there twice"),
        (line("a", "x") + line("b", "x"), "line 2: the name or the key is there twice"),
    ],
)
def test_a_broken_file_is_refused_and_says_where_but_never_what(text: str, complaint: str) -> None:
    with pytest.raises(InvalidKeys) as refused:
        parse_keys(text)
    assert complaint in str(refused.value)
    assert "vg_secret" not in str(refused.value)


def test_a_key_is_found_by_comparing_every_hash_in_constant_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[str, str]] = []

    def watched(one: str, other: str) -> bool:
        compared.append((one, other))
        return hmac.compare_digest(one, other)

    file = tmp_path / "keys"
    file.write_text(line("a", "x") + line("b", "y") + line("c", "z"))
    ring = KeyRing(file)
    monkeypatch.setattr("service.keys.hmac", type("hmac", (), {"compare_digest": staticmethod(watched)}))
    assert [found and found.name for found in map(ring.find, ("x", "z", "nobody's"))] == ["a", "c", None]
    assert len(compared) == 9, "all hashes, wherever the right one stands"
    assert all(len(one) == len(other) == 64 for one, other in compared), "hashes, never keys"


@pytest.mark.usefixtures("impatient")
def test_the_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(line("a", "x"))
    ring = KeyRing(file)
    file.write_text(line("a", "x") + line("b", "y"))
    assert ring.find("y") is not None
    file.write_text(line("b", "y"))
    assert ring.find("x") is None, "a key that was taken out is worth nothing"


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("harm", ["broken", "gone", "not text"])
def test_a_file_that_breaks_keeps_the_old_keys_and_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, harm: str
) -> None:
    file = tmp_path / "keys"
    file.write_text(line("a", "x"))
    ring = KeyRing(file)
    if harm == "gone":
        file.unlink()
    else:
        file.write_bytes(b'{"name": "vg_half' if harm == "broken" else b"\xff\xfe\x00")
    with caplog.at_level(logging.ERROR):
        assert all(ring.find("x") for _ in range(5))
    assert len(caplog.records) == 1
    assert "the keys stay as they were" in caplog.text
    assert "vg_half" not in caplog.text
    file.write_text(line("b", "y"))
    assert ring.find("y") is not None


@pytest.mark.parametrize("content", [None, b"{", b"\xff"])
def test_a_file_that_is_broken_at_the_start_is_refused(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "keys").write_bytes(content)
    with pytest.raises(InvalidKeys, match="the keys file"):
        KeyRing(tmp_path / "keys")


def test_vision_keys_new_prints_the_key_apart_from_the_line_that_is_kept() -> None:
    options = ["--rps", "5", "--burst", "9", "--max-tier", "standard", "--task", "classify", "--task", "embed"]
    made = CliRunner().invoke(keys_command.app, ["new", "camera", *options])
    assert made.exit_code == 0, made.output
    key = made.stderr.splitlines()[0]
    (kept,) = parse_keys(made.stdout)
    assert kept.sha256 == key_sha256(key)
    assert kept == Key(
        name="camera",
        sha256=key_sha256(key),
        rate_per_s=5,
        burst=9,
        max_tier="standard",
        tasks=("classify", "embed"),
    )
    assert key not in made.stdout


@pytest.mark.parametrize("bad", [["a b"], ["a", "--rps", "-1"], ["a", "--max-tier", "gold"], ["a", "--burst", "5"]])
def test_vision_keys_new_makes_no_line_that_the_gateway_would_refuse(bad: list[str]) -> None:
    made = CliRunner().invoke(keys_command.app, ["new", *bad])
    assert made.exit_code == 2
    assert made.stdout == ""


@pytest.mark.parametrize(
    ("ceilings", "allowed_ms", "tier"),
    [
        ({}, None, None),
        ({"max_tier": "interactive"}, 50.0, "interactive"),
        ({"max_budget_ms": 70}, 70.0, None),
        ({"max_tier": "interactive", "max_budget_ms": 70}, 50.0, "interactive"),
        ({"max_tier": "relaxed", "max_budget_ms": 70}, 70.0, None),
    ],
)
def test_of_two_ceilings_the_lower_one_holds(
    ceilings: dict[str, Any], allowed_ms: float | None, tier: str | None
) -> None:
    client = client_with(Key(name="a", sha256="0" * 64, **ceilings), Settings())
    assert (client.max_budget_ms, client.max_tier) == (allowed_ms, tier)
    if allowed_ms is not None:
        client.require_budget(allowed_ms, "tier")
        with pytest.raises(Forbidden):
            client.require_budget(allowed_ms + 0.1, "tier")
