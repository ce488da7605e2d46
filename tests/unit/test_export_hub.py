"""The hubs: found out to be away within seconds, and the libraries' own loading code where a file is at hand."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import huggingface_hub.constants
import pytest
import timm
import torch
from safetensors.torch import save_file
from torchvision.models import get_model_weights

from export import hub
from export.catalogue.registry import CATALOGUE, find
from export.catalogue.row import HubWeights
from export.errors import SourceUnreachable
from export.network import build
from export.sources import Choice, sources_of
from export.weights import load


@pytest.fixture
def silent_hub() -> Iterator[str]:
    """The address of something that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def empty_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HF_HOME", "HF_HUB_CACHE", "TORCH_HOME", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_a_refused_connection_is_one_sentence(empty_caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(SourceUnreachable, match=r"^the timm hub cannot be reached \(.+\)\.$"):
        hub.require("timm")


def test_a_hub_that_hangs_is_given_up_within_5_s_and_asked_once(
    silent_hub: str, empty_caches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", silent_hub)
    row = find("efficientnet_lite0")
    start_s = time.monotonic()
    for _ in range(3):
        with pytest.raises(SourceUnreachable):
            hub.require_or_cached(row.network, HubWeights("timm", "in1k", "Apache-2.0"))
    assert time.monotonic() - start_s < 5


def test_two_hubs_that_hang_are_given_up_within_5_s_together(
    silent_hub: str, empty_caches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"{silent_hub}/timm")
    monkeypatch.setitem(hub._HOMES, "torchvision", f"{silent_hub}/torchvision")
    monkeypatch.setattr(hub, "_waited_s", [0.0])
    start_s = time.monotonic()
    for library in ("timm", "torchvision"):
        with pytest.raises(SourceUnreachable):
            hub.require(library)
    assert time.monotonic() - start_s < 5


def test_homes_are_where_the_libraries_download_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    url = get_model_weights("resnet50")["IMAGENET1K_V2"].url
    assert urlsplit(hub.home("torchvision")).hostname == urlsplit(url).hostname
    assert hub.home("timm") == huggingface_hub.constants.ENDPOINT


def test_torchvision_weights_in_its_cache_need_no_hub(empty_caches: Path) -> None:
    row = find("mobilenet_v2")
    original = build(row.network)
    folder = empty_caches / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(original.state_dict(), folder / "mobilenet_v2-b0353104.pth")
    loaded = load(row, sources_of(row, Choice("hub")))
    assert loaded.weights.source == "hub"
    assert loaded.weights.origin == "torchvision, mobilenet_v2.IMAGENET1K_V1"
    assert len(loaded.weights.sha256) == 64
    pairs = zip(original.parameters(), loaded.module.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_timm_s_own_loading_takes_the_file_of_its_cache(tmp_path: Path) -> None:
    """In a process of its own: where the cache lies is read when the library is imported."""
    snapshot = tmp_path / "models--timm--tf_efficientnet_lite0.in1k" / "snapshots" / "0123abcd"
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0123abcd")
    row = find("efficientnet_lite0")
    original = build(row.network)
    torch.nn.init.constant_(original.get_submodule("classifier").bias, 0.25)  # type: ignore[arg-type]
    save_file(original.state_dict(), snapshot / "model.safetensors")
    script = """
from export.catalogue.registry import CATALOGUE, find
from export.sources import Choice, sources_of
from export.weights import load
row = find("efficientnet_lite0")
loaded = load(row, sources_of(row, Choice("hub")))
assert (loaded.module.get_submodule("classifier").bias == 0.25).all()
print(loaded.weights.source, loaded.weights.origin, len(loaded.weights.sha256), sep="|")
"""
    environment = os.environ | {"HF_HUB_CACHE": str(tmp_path), "HF_ENDPOINT": "http://127.0.0.1:1"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "hub|timm, tf_efficientnet_lite0.in1k|64"


@pytest.mark.parametrize("name", ["vgg11", "vit_tiny_patch16_224", "se_resnet50", "bninception"])
def test_each_kind_of_checkpoint_says_in_a_sentence_that_its_home_is_away(
    name: str, empty_caches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torchvision's enum, timm's hub, timm's address of its own, pytorchcv's releases."""
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("HOME", str(empty_caches))
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    hub._probe.cache_clear()
    row = find(name)
    (source,) = row.weights
    assert isinstance(source, HubWeights)
    with pytest.raises(SourceUnreachable, match="cannot be reached"):
        hub.fetch(row.network, source)
    with pytest.raises(SourceUnreachable, match="cannot be reached"):
        hub.require_or_cached(row.network, source)


def published_addresses() -> dict[str, str]:
    """Row → where its only checkpoint lies, for torchvision's rows and those that timm has on no hub."""
    found = {}
    for row in CATALOGUE.values():
        if len(row.weights) != 1 or not isinstance(source := row.weights[0], HubWeights):
            continue
        if source.library == "torchvision":
            found[row.name] = get_model_weights(row.network.constructor)[source.tag].url
        elif source.library == "timm":
            published = timm.get_pretrained_cfg(f"{row.network.constructor}.{source.tag}", allow_unregistered=False)
            if published is not None and published.hf_hub_id is None:
                found[row.name] = published.url
    return found


def test_a_checkpoint_in_torch_s_cache_needs_no_hub_whatever_its_file_is_called(
    empty_caches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody_answers(url: str) -> str:
        return f"{url} was asked"

    monkeypatch.setattr(hub, "_probe", nobody_answers)
    addresses = published_addresses()
    assert {"mnasnet1_0", "shufflenet_v2_x1_0", "senet154"} <= set(addresses)
    folder = empty_caches / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    for name, url in addresses.items():
        row = find(name)
        (source,) = row.weights
        assert isinstance(source, HubWeights)
        with pytest.raises(SourceUnreachable, match=re.escape(f"https://{urlsplit(url).hostname} was asked")):
            hub.require_or_cached(row.network, source)
        file = folder / url.rpartition("/")[2]
        file.touch()
        hub.require_or_cached(row.network, source)
        file.unlink()
