"""Sixty-four clients at once, and every answer is the one that its request gets when it is alone.

python -m benchmarks.concurrency --minutes 5 [--engine triton]

Different pictures, tasks, models, budgets, ways to send and forms of answer. First each combination is asked alone,
then all of them again and again by 64 clients. An answer must carry its own request's id and equal, to the last digit,
what was said alone by the same model; where pictures were merged into batches, within the tolerances of
benchmarks/same_answer.py. A combination alone differs from all others of its kind, so an answer that went to the wrong
request would be seen.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import uvloop

from benchmarks import mix
from benchmarks.client import Connection
from benchmarks.reliability_page import publish, table
from benchmarks.same_answer import alike, essence
from benchmarks.scrape import scrape
from benchmarks.served import served
from tests.gateway_server import GatewayServer

CLIENTS = 64
PICTURES = 12
_BOUNDARY = b"----of-the-benchmark"


@dataclass(frozen=True, slots=True)
class Way:
    """One kind of question: the address without budget and model, the models that may answer, and how it is sent."""

    path: str
    models: tuple[str, ...]
    sent: str = "raw"
    accept: str = "*/*"


@dataclass(frozen=True, slots=True)
class Case:
    """One combination, answered by one model."""

    way: Way
    picture: int
    model: str


WAYS = (
    Way("/v1/classify?top_k=5", mix.CLASSIFIERS),
    Way("/v1/classify?top_k=3&temperature=2", mix.CLASSIFIERS, "base64"),
    Way("/v1/classify?top_k=2", mix.CLASSIFIERS, "two files"),
    Way("/v1/embed?normalise=true", mix.CLASSIFIERS),
    Way("/v1/embed?normalise=false", mix.CLASSIFIERS, "multipart"),
    Way("/v1/detect?score_threshold=0.05", (mix.DETECTOR,)),
    Way("/v1/detect?score_threshold=0.05&overlay=true", (mix.DETECTOR,)),
    Way("/v1/segment?mask_format=rle", (mix.SEGMENTER,)),
    Way("/v1/segment?mask_format=png", (mix.SEGMENTER,), "base64"),
    Way("/v1/segment?mask_format=png", (mix.SEGMENTER,), accept="image/png"),
    Way("/v1/segment?kind=instance&mask_format=polygon&score_threshold=0.05", (mix.THINGS,)),
    Way("/v1/segment?kind=instance&mask_format=rle&score_threshold=0.05", (mix.THINGS,), "multipart"),
)
# How long a request may take and who chooses the model; what is chosen, the answer says.
WISHES = ("model", "model", "tier=batch", "tier=relaxed", "latency_budget_ms=2000", "tier=standard")


@dataclass
class Concurrency:
    minutes: float
    combinations: int = 0
    alike_alone: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    exact: Counter[str] = field(default_factory=Counter)
    near: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    by_model: Counter[str] = field(default_factory=Counter)
    batched: int = 0
    runs: int = 0
    problems: list[str] = field(default_factory=list)


async def concurrency(
    gateway: GatewayServer, minutes: float, *, tolerant: bool, pictures: int = PICTURES, seed: int = 1
) -> Concurrency:
    """Runs it against the gateway, which serves `mix.MODELS`. tolerant: batches may change the last digits."""
    run, files = Concurrency(minutes), mix.variations(pictures)
    alone = await _ask_alone(gateway.port, files)
    run.combinations, run.alike_alone = len(alone), _alike(alone)
    before, ends_s = scrape(gateway), time.monotonic() + 60 * minutes
    await asyncio.gather(
        *(_client(gateway.port, files, alone, random.Random(seed * 1000 + i), ends_s, run) for i in range(CLIENTS))
    )
    await asyncio.sleep(0.1)  # what was closed is gone
    after = scrape(gateway)
    run.runs, run.batched = _batches(before, after)
    run.problems = [*_broken(run, tolerant=tolerant or run.batched > 0)]
    return run


async def _ask_alone(port: int, pictures: Sequence[bytes]) -> dict[Case, object]:
    """What each combination is answered when nothing else goes on."""
    connection, found = await _connect(port), {}
    for way in WAYS:
        for model in way.models:
            for number in range(len(pictures)):
                request = _request(way, pictures, number, f"model={model}", "alone", port)
                status, body = await connection.ask(request)
                if status != 200:
                    raise RuntimeError(f"{way.path}, alone: {status} {body[:200]!r}")
                found[Case(way, number, model)] = essence(connection.head, body)
    _close(connection)
    return found


def _alike(alone: dict[Case, object]) -> int:
    """Combinations whose answer alone is also that of another picture: those could be mixed up unseen."""
    kinds = Counter((case.way, case.model, repr(answer)) for case, answer in alone.items())
    return sum(count for count in kinds.values() if count > 1)


async def _client(
    port: int, pictures: Sequence[bytes], alone: dict[Case, object], rng: random.Random, ends_s: float, run: Concurrency
) -> None:
    connection = await _connect(port)
    while time.monotonic() < ends_s:
        way, number, wish = rng.choice(WAYS), rng.randrange(len(pictures)), rng.choice(WISHES)
        wish = f"model={rng.choice(way.models)}" if wish == "model" else wish
        identity = f"request-{rng.getrandbits(64):016x}"
        try:
            status, body = await connection.ask(_request(way, pictures, number, wish, identity, port))
        except (OSError, TimeoutError) as err:
            run.statuses[type(err).__name__] += 1
            _close(connection)
            connection = await _connect(port)
            continue
        run.statuses[str(status)] += 1
        if _header(connection.head, b"x-request-id") != identity:
            run.wrong["an answer with another request's id"] += 1
        if status == 200:
            _compare(Case(way, number, _header(connection.head, b"x-model")), connection.head, body, alone, run)
        elif status in (422, 503, 504):
            await asyncio.sleep(0.01)
    _close(connection)


def _compare(case: Case, head: bytes, body: bytes, alone: dict[Case, object], run: Concurrency) -> None:
    expected, found = alone.get(case), essence(head, body)
    run.by_model[case.model] += 1
    kind = _kind(case.way)
    if found == expected:
        run.exact[kind] += 1
    elif expected is not None and alike(found, expected):
        run.near[kind] += 1
    else:
        others = [other for other, answer in alone.items() if answer == found]
        whose = f": it is that of {others[0].way.path}, picture {others[0].picture}" if others else ""
        run.wrong[f"{kind}, picture {case.picture}, {case.model}: another answer than alone{whose}"] += 1


def _kind(way: Way) -> str:
    picture = "" if way.accept == "*/*" else ", as a picture"
    return f"{way.path.removeprefix('/v1/').replace('?', ': ', 1).replace('&', ', ')}, {way.sent}{picture}"


async def _connect(port: int) -> Connection:
    _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port)
    return connection


def _close(connection: Connection) -> None:
    if connection.transport is not None:
        connection.transport.abort()


def _request(way: Way, pictures: Sequence[bytes], number: int, wish: str, identity: str, port: int) -> bytes:
    picture, content_type = pictures[number], "image/jpeg"
    if way.sent == "base64":
        picture, content_type = json.dumps({"image": base64.b64encode(picture).decode()}).encode(), "application/json"
    elif way.sent != "raw":
        files = [picture, pictures[(number + 1) % len(pictures)]] if way.sent == "two files" else [picture]
        head = b'\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
        parts = b"".join(b"--" + _BOUNDARY + head + file + b"\r\n" for file in files)
        picture = parts + b"--" + _BOUNDARY + b"--\r\n"
        content_type = f"multipart/form-data; boundary={_BOUNDARY.decode()}"
    head_text = (
        f"POST {way.path}&{wish} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: {content_type}\r\n"
        f"Accept: {way.accept}\r\nX-Request-Id: {identity}\r\nContent-Length: {len(picture)}\r\n\r\n"
    )
    return head_text.encode() + picture


def _header(head: bytes, name: bytes) -> str:
    _, _, rest = head.partition(b"\r\n" + name + b": ")
    return rest.split(b"\r\n", 1)[0].decode("latin-1")


def _batches(before: dict[str, float], after: dict[str, float]) -> tuple[int, int]:
    """Runs of models, and those of them that had more than one picture."""

    def grown(prefix: str) -> float:
        return sum(value - before.get(name, 0.0) for name, value in after.items() if name.startswith(prefix))

    single = sum(
        value - before.get(name, 0.0)
        for name, value in after.items()
        if name.startswith("vision_batch_size_bucket") and 'le="1.0"' in name
    )
    runs = grown("vision_batch_size_count")
    return round(runs), round(runs - single)


def _broken(run: Concurrency, *, tolerant: bool) -> Iterator[str]:
    yield from (f"{what}: {count} times" for what, count in run.wrong.items())
    unusual = {status: count for status, count in run.statuses.items() if status not in ("200", "422", "503", "504")}
    yield from (f"{count} requests ended with {status}" for status, count in unusual.items())
    if not tolerant and run.near.total():
        yield f"{run.near.total()} answers differ in their last digits though nothing was merged"
    if run.alike_alone:
        yield f"{run.alike_alone} combinations cannot be told apart"
    if not run.exact.total():
        yield "nothing was answered"


def report(run: Concurrency, engine: str) -> str:
    answered = run.statuses["200"]
    statuses = ", ".join(f"{status}: {count:,}" for status, count in sorted(run.statuses.items()))
    kinds = [_kind(way) for way in WAYS]
    rows = [[kind, f"{run.exact[kind]:,}", f"{run.near[kind]:,}"] for kind in kinds]
    merged = f" {run.batched:,} of {run.runs:,} runs had more than one picture." if engine == "embedded" else ""
    rows.append(["all", f"{run.exact.total():,}", f"{run.near.total():,}"])
    return "\n".join(
        [
            f"{CLIENTS} clients for {run.minutes:g} minutes on the {engine} engine, {run.combinations} combinations of "
            f"picture, task, parameters, model and form, {answered:,} answers; by status {statuses}." + merged,
            "",
            table(["asked", "the same to the last digit", "the same within the tolerance"], rows),
            "",
            "**No answer was another than alone, none went to another request.**"
            if not run.problems
            else "**Broken:** " + "; ".join(run.problems[:10]),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Whether an answer under load is the answer alone.")
    parser.add_argument("--engine", choices=("embedded", "triton"), default="embedded")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--no-docs", action="store_true", help="print only")
    asked = parser.parse_args()
    # With idle cores a lone picture is run by several threads, which add up in another order.
    with served(asked.engine, {"VISION_IDLE_CORES": "false"}) as gateway:
        run = uvloop.run(concurrency(gateway, asked.minutes, tolerant=asked.engine == "triton"))
    text = report(run, asked.engine)
    print(text)
    if not asked.no_docs:
        part = "concurrency" if asked.engine == "embedded" else "concurrency-triton"
        engine = "" if asked.engine == "embedded" else " --engine triton"
        publish(part, f"python -m benchmarks.concurrency --minutes {asked.minutes:g}{engine}", text, run)
    sys.exit(1 if run.problems else 0)


if __name__ == "__main__":
    main()
