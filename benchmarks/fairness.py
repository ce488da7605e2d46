"""What is left for a calm client while another floods: `python -m benchmarks.fairness --repository model_repository`.

Two keys. One asks from many connections at once and never waits; the other asks every 50 ms, from a process of its own,
so that what it waits for is the gateway and not the flood's own client. Its answers are counted by how they ended.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx
import numpy as np

from benchmarks.server import ROOT, serving
from service.keys import key_sha256, new_key

CONNECTIONS = 32
CALM_GAP_S = 0.05


def _ended(answer: httpx.Response) -> str:
    return "ok" if answer.status_code == 200 else str(answer.json()["type"]).rsplit(":", 1)[1]


async def _ask(client: httpx.AsyncClient, key: str, query: str, picture: bytes) -> str:
    headers = {"Content-Type": "image/jpeg", "Authorization": f"Bearer {key}"}
    return _ended(await client.post(f"/v1/classify?{query}", content=picture, headers=headers))


def flood(url: str, key: str, query: str, seconds: float) -> None:
    """Runs in a process of its own."""
    picture = (ROOT / "examples" / "chelsea.jpg").read_bytes()

    async def run() -> None:
        until_s = time.monotonic() + seconds
        limits = httpx.Limits(max_connections=CONNECTIONS)
        async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client:

            async def ask_on() -> None:
                while time.monotonic() < until_s:
                    await _ask(client, key, query, picture)

            await asyncio.gather(*[ask_on() for _ in range(CONNECTIONS)])

    asyncio.run(run())


async def calm(url: str, key: str, query: str, seconds: float) -> tuple[Counter[str], list[float]]:
    """How its requests ended, and how many milliseconds each took."""
    picture = (ROOT / "examples" / "chelsea.jpg").read_bytes()
    ended, took_ms, until_s = Counter[str](), [], time.monotonic() + seconds
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        while time.monotonic() < until_s:
            began_s = time.monotonic()
            ended[await _ask(client, key, query, picture)] += 1
            took_ms.append((time.monotonic() - began_s) * 1e3)
            await asyncio.sleep(CALM_GAP_S)
    return ended, took_ms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repository", type=Path, default=Path("model_repository"))
    parser.add_argument("--seconds", type=float, default=15.0)
    asked = parser.parse_args()
    names = ("flood", "calm")
    keys = {name: new_key() for name in names}
    print("| the flood asks | the calm one asks | alone: ok, p50 | beside the flood: ok, p50, p99 | the rest |")
    print("|---|---|--:|--:|---|")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "keys.jsonl"
        file.write_text("\n".join(json.dumps({"name": name, "sha256": key_sha256(keys[name])}) for name in names))
        with serving(asked.repository, {"VISION_API_KEYS_FILE": str(file)}) as server:
            url = f"http://127.0.0.1:{server.port}"
            for loud, quiet in (("standard", "standard"), ("interactive", "standard"), ("batch", "standard")):
                before, before_ms = asyncio.run(calm(url, keys["calm"], f"tier={quiet}", 5.0))
                other = multiprocessing.Process(
                    target=flood, args=(url, keys["flood"], f"tier={loud}", asked.seconds + 2.0)
                )
                other.start()
                time.sleep(2.0)
                ended, took_ms = asyncio.run(calm(url, keys["calm"], f"tier={quiet}", asked.seconds))
                other.join()
                rest = ", ".join(f"{count} {how}" for how, count in ended.most_common() if how != "ok")
                print(
                    f"| {loud} | {quiet} | {before['ok'] / before.total():.0%}, {np.median(before_ms):.0f} ms "
                    f"| {ended['ok'] / ended.total():.0%}, {np.median(took_ms):.0f} ms, "
                    f"{np.percentile(took_ms, 99):.0f} ms | {rest} |"
                )


if __name__ == "__main__":
    main()
