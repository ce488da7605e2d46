"""The benchmark's own tools: what the load generator counts, and what the ratios are made of."""

from __future__ import annotations

import json
import os
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from benchmarks import pinned_workers
from benchmarks.peers import processes, report, summary
from benchmarks.peers.cells import LIMIT, REPEATS, Bench
from benchmarks.peers.contestants import CONTESTANTS, PEERS_FIELD
from benchmarks.peers.load import message
from tests.gateway_server import ROOT

PICTURE = b"\xff\xd8" + bytes(150_000)


class Served:
    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.took_s = 0.0
        self.status = 200


@contextmanager
def server(chunked: bool = False) -> Iterator[tuple[int, Served]]:
    """One thread a connection; every request takes `took_s`."""
    served = Served()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            served.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            time.sleep(served.took_s)
            self.send_response(served.status)
            if chunked:
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.wfile.write(b"2\r\nok\r\n0\r\n\r\n")
            else:
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

        def log_message(self, *_: object) -> None:
            pass

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 128

    with Server(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield listening.server_address[1], served
        listening.shutdown()


def load(folder: Path, port: int, *arguments: str) -> dict[str, Any]:
    (folder / "picture.jpg").write_bytes(PICTURE)
    command = [sys.executable, "-m", "benchmarks.peers.load", "--port", str(port), "--pictures", str(folder)]
    ran = subprocess.run(
        [*command, "--warm", "0", *arguments], capture_output=True, text=True, check=True, cwd=ROOT, timeout=60
    )
    said: dict[str, Any] = json.loads(ran.stdout)
    return said


@pytest.mark.parametrize("chunked", [False, True])
def test_closed_loop_sends_whole_pictures_and_counts_every_answer(tmp_path: Path, chunked: bool) -> None:
    with server(chunked) as (port, served):
        served.took_s = 0.02
        said = load(tmp_path, port, "--clients", "4", "--seconds", "0.6")
    assert said["failed"] == 0
    # What was sent before the end and answered after it has a latency, and is no part of the throughput.
    assert 0 <= len(said["latencies_ms"]) - said["answered_in_window"] <= 4 < said["answered_in_window"]
    assert set(served.bodies) == {PICTURE}
    assert min(said["latencies_ms"]) >= 20
    assert said["client_cpu_s"] > 0


def test_a_form_holds_the_picture(tmp_path: Path) -> None:
    with server() as (port, served):
        load(tmp_path, port, "--clients", "1", "--seconds", "0.2", "--form")
    assert PICTURE in served.bodies[0]
    assert b'name="content"' in served.bodies[0]


def test_open_loop_counts_from_when_a_request_was_due(tmp_path: Path) -> None:
    with server() as (port, served):
        served.took_s = 0.1
        said = load(tmp_path, port, "--clients", "1", "--rate", "30", "--seconds", "1")
    # One connection does ten a second: those that had to wait for it have waited.
    assert max(said["latencies_ms"]) > 500
    assert said["sent_late_p99_ms"] > 400


def test_answers_that_are_no_200_are_failures_and_say_why(tmp_path: Path) -> None:
    with server() as (port, served):
        served.status = 503
        said = load(tmp_path, port, "--clients", "2", "--seconds", "0.2")
    assert said["failed"] > 0
    assert said["latencies_ms"] == []
    assert "503" in said["first_failure"]


def test_a_message_says_how_long_it_is() -> None:
    head, body = message("/predict", 80, PICTURE, form=False).split(b"\r\n\r\n", 1)
    assert body == PICTURE
    assert f"Content-Length: {len(PICTURE)}".encode() in head


def test_a_tree_is_the_process_with_its_children_and_can_be_stopped() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import subprocess, sys; subprocess.run(['sleep', '30'])"])
    try:
        give_up_s = time.monotonic() + 20
        while len(processes.tree(child.pid)) < 2:
            assert time.monotonic() < give_up_s
            time.sleep(0.02)
        assert child.pid in processes.tree(os.getpid())
        assert processes.memory_mb(child.pid) > 1
    finally:
        processes.send(child.pid, 9)  # type: ignore[arg-type]
        child.wait(20)


def test_processor_time_that_nobody_of_ours_used_is_others() -> None:
    before = processes.Usage(at_s=0.0, everybody_s=100.0, own_s=1.0, server_s=10.0)
    after = processes.Usage(at_s=1.0, everybody_s=101.0, own_s=1.25, server_s=10.25)
    assert after.others_since(before) == pytest.approx(0.5 / (os.cpu_count() or 1), abs=1e-3)


def cells() -> list[dict[str, Any]]:
    """Two rounds, the second on a machine half as fast: ratios are the same, rates are not."""
    rates = {LIMIT: 100.0, "ours": 95.0, "ours-int8": 180.0, **{peer.name: 80.0 for peer in PEERS_FIELD}}
    common = {"p50_ms": 10.0, "p95_ms": 15.0, "cpu_ms": 8.0, "client_cpu_ms": 0.1, "memory_mb": 100.0, "failed": 0}
    rows = []
    for turn, speed in enumerate((1.0, 0.5)):
        for level in ("1 clients", "8 clients"):
            for name, rate in rates.items():
                about: dict[str, Any] = {
                    "round": turn,
                    "kind": "closed",
                    "level": level,
                    "contestant": name,
                    "others": 0.01,
                }
                rows.append({**about, **common, "per_s": rate * speed, "p99_ms": 20.0})
        for name in rates.keys() - {LIMIT}:
            about = {"round": turn, "kind": "open", "level": "70 %", "contestant": name, "others": 0.5}
            rows.append({**about, **common, "per_s": 70.0, "p99_ms": 10.0 if name == "ours" else 40.0})
    return rows


def test_ratios_to_the_limit_are_taken_within_a_round() -> None:
    said = summary.claims(cells())
    assert said["of_limit"] == {"1 clients": 0.95, "8 clients": 0.95}
    assert said["best_peer_of_limit"]["8 clients"] == 0.8
    assert said["p99_over_best_peer"] == {"70 %": 0.25}
    assert said["p50_at_one_client_over_best_peer"] == 1.0
    assert summary.disturbed(cells()) == 2 * len(CONTESTANTS)


def test_tables_name_everybody_and_every_claim() -> None:
    document = {
        "circumstances": {"device": "a machine", "date": "today", "python": "3", "onnxruntime": "1"},
        "peer_versions": {"fastapi": "1"},
        "plan": {"rounds": 2, "seconds": 3, "pictures": 1, "picture_kb": 1},
        "ready_s": {},
        "disturbed": 2,
        "cells": cells(),
        "summary": summary.summarise(cells()),
        "claims": summary.claims(cells()),
        "extras": {},
    }
    text = report.tables(document)
    assert all(one.title in text for one in CONTESTANTS)
    assert "| vision-gateway | 71 (0.95) | 71 (0.95) |" in text
    assert "10.0 / 15.0 / 10.0" in text
    assert "In 2 of" in text


def test_what_is_disturbed_is_repeated_only_while_the_rest_of_the_plan_still_fits() -> None:
    def attempts(until_s: float) -> int:
        bench = Bench([], Path(), Path(), until_s)
        bench._left = 10
        return int(bench._repeated(lambda: {"others": 0.5})["attempts"])

    assert attempts(time.monotonic() + 1000) == 1 + REPEATS
    assert attempts(time.monotonic() - 1) == 1


def test_of_several_attempts_the_least_disturbed_counts() -> None:
    bench = Bench([], Path(), Path(), time.monotonic() + 1000)
    measured = iter([{"others": 0.5, "per_s": 1}, {"others": 0.1, "per_s": 2}, {"others": 0.3, "per_s": 3}])
    assert bench._repeated(lambda: next(measured)) == {"others": 0.1, "per_s": 2, "attempts": 3}


def test_a_cell_without_an_answer_spoils_neither_tables_nor_plot(tmp_path: Path) -> None:
    rows = cells()
    for row in rows:
        if row["contestant"] == "litserve" and row["level"] in ("8 clients", "70 %"):
            row.update(per_s=0.0, p50_ms=None, p95_ms=None, p99_ms=None, failed=3)
    document = {
        "circumstances": {"device": "a machine", "date": "today", "python": "3", "onnxruntime": "1"},
        "peer_versions": {},
        "plan": {"rounds": 2, "seconds": 3, "pictures": 1, "picture_kb": 1},
        "ready_s": {},
        "disturbed": 0,
        "cells": rows,
        "summary": summary.summarise(rows),
        "claims": summary.claims(rows),
        "extras": {},
    }
    assert "0 (0.00), 6 failed" in report.tables(document)
    report.plot(document, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 0


def test_workers_with_and_without_cores_are_compared_within_a_round() -> None:
    def cell(turn: int, name: str, per_s: float) -> dict[str, Any]:
        about = {"busy": turn == 2, "level": "8 clients", "round": turn, "contestant": name}
        return {**about, "per_s": per_s, "p50_ms": 10.0 + turn, "p99_ms": 20.0}

    per_s = ((100.0, 80.0, 90.0), (50.0, 30.0, 45.0), (10.0, 4.0, 5.0))
    names = (LIMIT, pinned_workers.FREE, pinned_workers.PINNED)
    cells = [cell(turn, name, value) for turn, row in enumerate(per_s) for name, value in zip(names, row, strict=True)]
    alone, beside = pinned_workers.summary(cells)
    assert (alone["busy"], alone["free"]["of_limit"], alone["pinned"]["of_limit"]) == (False, 0.7, 0.9)
    assert (beside["busy"], beside["free"]["of_limit"], beside["pinned"]["p50_ms"]) == (True, 0.4, 12.0)
