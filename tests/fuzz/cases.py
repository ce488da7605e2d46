"""What is sent: harmed pictures, harmed requests. Each case is made from the run's seed and its own number alone."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.fuzz.corpus import good, nasty
from tests.fuzz.mutate import harmed

BUDGET = "latency_budget_ms=30000"
ROUTES = ("classify", "detect", "segment", "embed", "route")
MODELS = "model=mobilenet_v2"


@dataclass(frozen=True, slots=True)
class Case:
    """One request. `kind` is its row in the table, `name` tells it from the others in a report."""

    kind: str
    name: str
    path: str
    query: bytes
    content: bytes
    method: str = "POST"
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)


def case(seed: int, number: int) -> Case:
    """The number-th case of that seed: three of five are pictures."""
    rng = random.Random(f"{seed}:{number}")
    return picture_case(rng, number) if number % 5 < 3 else request_case(rng, number)


def picture_case(rng: random.Random, number: int) -> Case:
    """A picture of the corpus, mostly harmed, raw or in one of the wrappings; any route."""
    pool = good() if rng.random() < 0.85 else nasty()
    name, data = rng.choice(list(pool.items()))
    # The heaviest rarely; bad ones mostly as they are, for harm would make them harmless.
    if name.startswith("bomb, 49") and rng.random() < 0.8:
        name, data = "png", good()["png"]
    if rng.random() < (0.95 if name in good() else 0.3) and len(data) < 100_000:
        data = harmed(data, rng, list(good().values()))
    route = rng.choice(ROUTES)
    query = BUDGET + ("&" + MODELS if route in ("classify", "embed") and rng.random() < 0.7 else "")
    if route in ("detect", "segment") and rng.random() < 0.2:
        query += "&overlay=true"
    headers, content = _wrapped(rng, data)
    kind = f"pictures, {name.split(',')[0].split(' ')[0]}"
    return Case(kind, f"{number} {name}", f"/v1/{route}", query.encode(), content, headers=headers)


def _wrapped(rng: random.Random, data: bytes) -> tuple[list[tuple[bytes, bytes]], bytes]:
    how = rng.random()
    if how < 0.7:
        declared = rng.choice((b"image/jpeg", b"image/png", b"image/webp", b"application/octet-stream"))
        return [(b"content-type", declared)], data
    if how < 0.85:
        return [(b"content-type", b"multipart/form-data; boundary=edge")], multipart([data] * rng.randint(1, 2))
    return [(b"content-type", b"application/json")], json.dumps({"image": base64.b64encode(data).decode()}).encode()


def multipart(files: list[bytes], boundary: bytes = b"edge") -> bytes:
    parts = [
        b'--%b\r\nContent-Disposition: form-data; name="file"; filename="%d.jpg"\r\n\r\n%b\r\n' % (boundary, i, data)
        for i, data in enumerate(files)
    ]
    return b"".join(parts) + b"--" + boundary + b"--\r\n"


def request_case(rng: random.Random, number: int) -> Case:
    kind = rng.choice(list(_REQUESTS))
    made = _REQUESTS[kind](rng)
    whole = {
        "method": "POST",
        "path": f"/v1/{rng.choice(ROUTES)}",
        "query": BUDGET.encode(),
        "content": _jpeg(),
        **made,
    }
    if "headers" not in whole:
        whole["headers"] = [(b"content-type", b"image/jpeg")]
    return Case(f"requests, {kind}", f"{number}", **whole)


def _jpeg() -> bytes:
    return good()["jpeg"]


def _multipart(rng: random.Random) -> dict[str, Any]:
    boundary = rng.choice((b"edge", b"", b"x" * 70, b"x" * 5_000, b"--", b"a b", b'"q', b"\xff\xfe", b"edge;x=y"))
    body = multipart(
        [_jpeg()[: rng.randint(0, 3_000)]] * rng.choice((0, 1, 2, 16, 17, 40)), rng.choice((boundary, b"edge"))
    )
    if rng.random() < 0.8:
        body = harmed(
            body, rng, [b"\r\n--edge", b"Content-Disposition: form-data\r\n\r\n", b"\r\n" * 50, b"--edge--\r\n"]
        )
    declared = rng.choice(
        (
            b"multipart/form-data; boundary=",
            b"multipart/form-data;boundary=",
            b"Multipart/Form-Data; charset=x; boundary=",
        )
    )
    return {"content": body, "headers": [(b"content-type", declared + boundary)]}


def _multipart_headers(rng: random.Random) -> dict[str, Any]:
    """The headers of one part: many, long, without end, of every odd form."""
    odd = rng.choice(
        (
            b"X-A: b\r\n" * rng.choice((10, 1_000, 20_000)),
            b"X-" + b"a" * rng.choice((100, 10_000, 500_000)) + b": b\r\n",
            b'Content-Disposition: form-data; name="' + b"n" * rng.choice((100, 100_000)) + b'"; filename="a"\r\n',
            b"Content-Disposition: form-data; name=\"f\"; filename*=UTF-8''%ff%00.jpg\r\n",
            b"Content-Disposition: " + b'form-data; a="b"; ' * 5_000 + b"\r\n",
            b"Content-Transfer-Encoding: base64\r\n",
            b"Content-Type: multipart/mixed; boundary=inner\r\n",
            b": no name\r\n",
            b"\x00\xff\r\n",
        )
    )
    known = b'Content-Disposition: form-data; name="file"; filename="a.jpg"\r\n' if rng.random() < 0.5 else b""
    body = b"--edge\r\n" + known + odd + b"\r\n" + _jpeg() + b"\r\n--edge--\r\n"
    return {"content": body, "headers": [(b"content-type", b"multipart/form-data; boundary=edge")]}


def _json(rng: random.Random) -> dict[str, Any]:
    picture = base64.b64encode(_jpeg()).decode()
    depth = rng.choice((10, 1_000, 100_000))
    documents: list[bytes] = [
        b"[" * depth,
        b'{"image":' * depth,
        b'{"images":' + b"[" * depth + b"]" * depth + b"}",
        b'{"image": "' + b"A" * rng.choice((3, 4_000_000)) + b'"}',
        b'{"image": ' + b"9" * rng.choice((100, 100_000)) + b"}",
        b'{"image": 1e999999, "images": NaN}',
        b'{"image": "\\ud800"}',
        b'{"image": "\\u0000", "\\u0000": 1}',
        json.dumps({"images": [picture] * rng.choice((0, 1, 16, 17, 5_000))}).encode(),
        json.dumps({f"k{i}": i for i in range(rng.choice((1, 10_000)))}).encode(),
        ('{"image": "' + picture + '", "image": "' + picture + '"}').encode(),
        json.dumps({"image": picture}).encode("utf-16"),
        b"\xef\xbb\xbf" + json.dumps({"image": picture}).encode(),
        harmed(json.dumps({"image": picture}).encode(), rng, [b'"', b"{", b"\\u12", b"\xc3\x28"]),
    ]
    return {"content": rng.choice(documents), "headers": [(b"content-type", b"application/json")]}


_NAMES = (
    *("model", "tier", "top_k", "latency_budget_ms", "min_accuracy", "temperature", "priority", "late", "strategy"),
    *("score_threshold", "max_detections", "classes", "overlay", "kind", "mask_format", "normalise", "task", "nobody"),
)
_VALUES = (
    *(
        "",
        "0",
        "-1",
        "1",
        "1e308",
        "-1e400",
        "nan",
        "inf",
        "true",
        "null",
        "None",
        "[]",
        "{}",
        "\x00",
        "%",
        "%%",
        "%zz",
        "%00",
    ),
    *(
        "9" * 400,
        "9" * 5_000,
        "a" * 3_000,
        "é",
        "%c3%28",
        "%ff",
        "../../etc/passwd",
        "mobilenet_v2",
        "person,,dog",
        ",",
    ),
    *(
        "classify",
        "instance",
        "polygon",
        "realtime",
        "0x10",
        "1_000",
        " 5 ",
        "+5",
        "٣",
        "5;drop",
        "http://169.254.169.254",
    ),
)


def _query(rng: random.Random) -> dict[str, Any]:
    pairs = [f"{rng.choice(_NAMES)}={rng.choice(_VALUES)}" for _ in range(rng.randint(1, 4))]
    return {"query": rng.choice("&&&;").join(pairs).encode("utf-8", "surrogateescape")}


def _long_query(rng: random.Random) -> dict[str, Any]:
    """Ten thousand parameters: one again and again, all different, or without values."""
    number = rng.choice((100, 10_000))
    forms = (
        "&".join(["top_k=1"] * number),
        "&".join(f"p{i}=1" for i in range(number)),
        "&".join(f"p{i % 100}" for i in range(number)),
        "&" * number,
        "=" * number,
        "%" * number,
    )
    return {"query": rng.choice(forms).encode()}


def _headers(rng: random.Random) -> dict[str, Any]:
    odd: list[tuple[bytes, bytes]] = [
        (b"x-latency-budget-ms", rng.choice(_VALUES).encode("utf-8")),
        (b"content-length", rng.choice((b"0", b"5", b"9" * 30, b"-1", b"x", b"\xff", b"1e3", b" 7 "))),
        (
            b"content-type",
            rng.choice((b"", b";", b"image/jpeg;" * 2_000, b"\xff\xfe", b"a" * 50_000, b"multipart/form-data")),
        ),
        (b"accept", rng.choice((b"*/*", b"image/png", b"," * 5_000, b"\xff", b"q=;" * 1_000))),
        (b"x-request-id", rng.choice((b"a" * 129, b"\xff", b"a\tb", b"", b"ok-1"))),
        (b"authorization", rng.choice((b"", b"Bearer", b"Bearer " + b"a" * 50_000, b"Basic \xff", b"\x00"))),
        (b"transfer-encoding", rng.choice((b"chunked", b"gzip", b"\xff"))),
        (b"content-encoding", rng.choice((b"gzip", b"br", b"deflate, gzip"))),
        (b"x-forwarded-for", rng.choice((b"\xff", b"1.2.3.4, " * 1_000, b"::1%eth0", b"a" * 9_000))),
        (b"host", rng.choice((b"", b"\xff", b"a" * 9_000, b"evil.example:99999"))),
        (b"cookie", b"a=b; " * rng.choice((1, 5_000))),
    ]
    chosen = rng.sample(odd, rng.randint(1, 4))
    if not any(name == b"content-type" for name, _ in chosen):
        chosen.append((b"content-type", b"image/jpeg"))
    return {"headers": chosen}


def _address(rng: random.Random) -> dict[str, Any]:
    paths = (
        *(
            "/",
            "//",
            "/v1",
            "/v1/",
            "/v1//classify",
            "/v1/classify/",
            "/v1/classify/..",
            "/v1/models/",
            "/%2e%2e/etc/passwd",
        ),
        *("/v1/models/" + "a" * 3_000, "/v1/models/é", "/v1/models/\x00", "/v1/models/%00", "/v1/models/..%2f..", "/*"),
        *(
            "/v1/models/" + "n" * 201,
            "/docs/../v1/models",
            "/openapi.json/",
            "/health/ready?",
            "/metrics",
            "/v1/models/mobilenet_v2",
        ),
    )
    method = rng.choice(("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "FOO", "get"))
    return {"path": rng.choice(paths), "method": method, "query": b"", "content": rng.choice((b"", b"x"))}


_REQUESTS: dict[str, Callable[[random.Random], dict[str, Any]]] = {
    "multipart": _multipart,
    "multipart headers": _multipart_headers,
    "JSON": _json,
    "query": _query,
    "10,000 parameters": _long_query,
    "headers": _headers,
    "addresses and methods": _address,
}
