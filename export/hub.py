"""Published checkpoints from the libraries' own hubs, and the answer, within seconds, whether a hub is there at all."""

from __future__ import annotations

import os
import threading
import time
import urllib.error
import urllib.request
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from export.catalogue.row import HubWeights, Library, Network
from export.errors import SourceUnreachable, WeightsError
from export.hub_files import TIMM_ADDRESSES, TORCHVISION_STEMS

# The whole wait for a hub that does not answer, name resolution included.
PROBE_TIMEOUT_S = 4.0
# What every further hub gets once the first has used that up: with three libraries, 5 s in total.
LEAST_PROBE_S = 0.4

SAFETENSORS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"

_HOMES: dict[Library, str] = {
    "timm": "https://huggingface.co",
    "torchvision": "https://download.pytorch.org",
    "pytorchcv": "https://github.com",
    "transformers": "https://huggingface.co",
}


def home(library: Library) -> str:
    """The address that the library downloads from. `HF_ENDPOINT` moves that of timm and
    transformers, as it does for the libraries themselves."""
    if library in ("timm", "transformers"):
        return os.environ.get("HF_ENDPOINT", "").rstrip("/") or _HOMES[library]
    return _HOMES[library]


def require(library: Library) -> None:
    """Returns if the library's hub answers. Raises SourceUnreachable within PROBE_TIMEOUT_S; asks once per process."""
    reason = _probe(home(library))
    if reason:
        raise SourceUnreachable(f"the {library} hub cannot be reached ({reason}).")


@cache
def _probe(url: str) -> str:
    """Why the address does not answer; empty if it does."""
    outcome: list[str] = []
    # A resolver that hangs cannot be interrupted, only left behind: hence a thread, and a daemon.
    thread = threading.Thread(target=lambda: outcome.append(_ask(url)), daemon=True)
    wait_s = max(LEAST_PROBE_S, PROBE_TIMEOUT_S - _waited_s[0])
    started_s = time.monotonic()
    thread.start()
    thread.join(wait_s)
    _waited_s[0] += time.monotonic() - started_s
    return outcome[0] if outcome else f"no answer within {wait_s:.1f} s"


# Seconds this process has waited for hubs: the patience is shared, so that two dead hubs do not take twice as long.
_waited_s = [0.0]


def _ask(url: str) -> str:
    # The address is the library's own or the operator's, so its scheme needs no audit.
    request = urllib.request.Request(url, method="HEAD")  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=PROBE_TIMEOUT_S):  # noqa: S310
            return ""
    except urllib.error.HTTPError:
        return ""  # it answered
    except urllib.error.URLError as err:
        return str(err.reason)
    except OSError as err:
        return str(err)


def require_or_cached(network: Network, source: HubWeights) -> None:
    """Returns if `fetch` stands a chance. Raises SourceUnreachable at once otherwise: torch is not imported to know."""
    if _seems_cached(network, source):
        return
    if source.library == "timm" and network.constructor in TIMM_ADDRESSES:
        _require_address(TIMM_ADDRESSES[network.constructor])
    else:
        require(source.library)


def _seems_cached(network: Network, source: HubWeights) -> bool:
    """Whether the library's cache holds something of that name. `fetch` looks closely."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    checkpoints = Path(os.environ.get("TORCH_HOME") or caches / "torch") / "hub" / "checkpoints"
    if source.library == "timm" and network.constructor in TIMM_ADDRESSES:
        folder, pattern = checkpoints, TIMM_ADDRESSES[network.constructor].rpartition("/")[2]
    elif source.library in ("timm", "transformers"):
        home_folder = Path(os.environ.get("HF_HOME") or caches / "huggingface")
        folder = Path(os.environ.get("HF_HUB_CACHE") or home_folder / "hub")
        pattern = f"models--timm--{network.constructor}.{source.tag}"
        if source.library == "transformers":
            pattern = "models--" + source.tag.replace("/", "--")
    elif source.library == "pytorchcv":
        folder, pattern = _pytorchcv_folder(), f"{source.tag}-*.pth"
    else:
        folder, pattern = checkpoints, f"{TORCHVISION_STEMS.get(network.constructor, network.constructor)}[-_]*"
    return any(folder.glob(pattern))


def _pytorchcv_folder() -> Path:
    """pytorchcv's own cache; it knows no variable that moves it."""
    return Path.home() / ".torch" / "models"


def fetch(network: Network, source: HubWeights) -> Path:
    """The checkpoint file in the library's own cache, downloaded by the library if it is not there yet.

    Raises SourceUnreachable if the hub does not answer, WeightsError if the library knows no such checkpoint.
    """
    try:
        match source.library:
            case "timm":
                return _from_timm(network, source)
            case "pytorchcv":
                return _from_pytorchcv(source)
            case "transformers":
                return _from_transformers(source)
            case _:
                return _from_torchvision(network, source)
    except (KeyError, RuntimeError) as err:
        raise WeightsError(f"{source.library} has no usable {network.constructor} {source.tag}: {err}.") from err
    except OSError as err:
        raise SourceUnreachable(f"the {source.library} hub broke off: {err}.") from err


def _from_timm(network: Network, source: HubWeights) -> Path:
    import huggingface_hub
    import timm

    published = timm.get_pretrained_cfg(f"{network.constructor}.{source.tag}", allow_unregistered=False)
    hub_id = published.hf_hub_id if published else None
    if published is not None and hub_id is None and isinstance(published.url, str) and published.url:
        return _from_address(published.url)
    if hub_id is None:
        raise KeyError("it is on no hub")
    known = huggingface_hub.try_to_load_from_cache(hub_id, SAFETENSORS_FILE)
    if isinstance(known, str):
        return Path(known)
    require("timm")
    return Path(huggingface_hub.hf_hub_download(hub_id, SAFETENSORS_FILE))


def _from_transformers(source: HubWeights) -> Path:
    """The checkpoint, with the configuration that it needs beside it."""
    import huggingface_hub

    files = (CONFIG_FILE, SAFETENSORS_FILE)
    known = [huggingface_hub.try_to_load_from_cache(source.tag, file) for file in files]
    if not all(isinstance(path, str) for path in known):
        require("transformers")
        known = [huggingface_hub.hf_hub_download(source.tag, file) for file in files]
    return Path(str(known[-1]))


def _from_address(url: str) -> Path:
    """timm's older checkpoints lie at an address of their own, and in torch's cache once they are fetched."""
    import torch

    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.is_file():
        _require_address(url)
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), progress=False)
    return path


def _require_address(url: str) -> None:
    host = urlsplit(url).hostname or ""
    reason = _probe(f"https://{host}")
    if reason:
        raise SourceUnreachable(f"{host} cannot be reached ({reason}).")


def _from_pytorchcv(source: HubWeights) -> Path:
    """pytorchcv checks the sha1 that it publishes, of a file in its cache too."""
    from pytorchcv.models.common.model_store import get_model_file

    if not any(_pytorchcv_folder().glob(f"{source.tag}-*.pth")):
        require("pytorchcv")
    return Path(get_model_file(source.tag, str(_pytorchcv_folder())))


def _from_torchvision(network: Network, source: HubWeights) -> Path:
    import torch
    from torchvision.models import get_model_weights

    published = get_model_weights(network.constructor)[source.tag]
    path: Path = Path(torch.hub.get_dir()) / "checkpoints" / published.url.rpartition("/")[2]
    if not path.is_file():
        require("torchvision")
        published.get_state_dict(progress=False, check_hash=True, weights_only=True)
    return path
