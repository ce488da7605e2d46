"""The doors of the real `vision serve`: what it refuses to start with, its two ports, its log."""

from __future__ import annotations

import base64
import os
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException
from typer.testing import CliRunner

from service.cli import commands
from service.keys import parse_keys
from tests.e2e.conftest import photograph
from tests.gateway_server import ROOT, GatewayServer, require_models

VISION = Path(sys.executable).with_name("vision")


def vision(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("VISION_")}
    command = [str(VISION), *arguments]
    return subprocess.run(command, env={**clean, **settings}, capture_output=True, text=True, cwd=ROOT, timeout=60)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def made_key(folder: Path, name: str, *options: str) -> str:
    """A key from `vision keys new`, its line appended to the keys file as an operator's shell would."""
    done = vision("keys", "new", name, *options)
    assert done.returncode == 0, done.stderr
    with (folder / "keys.jsonl").open("a") as file:
        file.write(done.stdout)
    return done.stderr.splitlines()[0]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"VISION_HOST": "0.0.0.0"}, "VISION_ALLOW_ANONYMOUS=true"),
        ({"VISION_HOST": "::"}, "VISION_API_KEYS_FILE"),
        ({"VISION_API_KEYS_FILE": "/nowhere/keys"}, "the keys file /nowhere/keys cannot be read"),
        ({"VISION_API_KEYS_FILE": "LICENSE"}, "the keys file LICENSE, line 2"),
        ({"VISION_PORT": "8081"}, "VISION_PORT and VISION_ADMIN_PORT are both 8081"),
        ({"VISION_TLS_CERT": "LICENSE"}, "VISION_TLS_CERT and VISION_TLS_KEY go together"),
    ],
)
def test_it_does_not_start_and_says_what_to_set(settings: dict[str, str], sentence: str) -> None:
    """In this process: it is all said before anything listens."""
    ports = {"VISION_PORT": str(free_port()), "VISION_ADMIN_PORT": "8081"}
    done = CliRunner().invoke(commands.app, ["serve"], env={**ports, **settings})
    assert done.exit_code == 2, done.output
    assert sentence in done.stderr
    assert "listens on" not in done.stdout


def test_a_certificate_that_is_none_is_said() -> None:
    files = {"VISION_TLS_CERT": "LICENSE", "VISION_TLS_KEY": "LICENSE"}
    done = vision("serve", VISION_PORT=str(free_port()), VISION_ADMIN_PORT="0", **files)
    assert done.returncode == 2
    assert "VISION_TLS_CERT and VISION_TLS_KEY cannot be used" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_admin_port_that_is_taken_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = vision("serve", VISION_PORT=str(free_port()), VISION_ADMIN_PORT=str(port))
    assert done.returncode == 2
    assert f"the admin port 127.0.0.1:{port} cannot be had" in done.stderr
    assert "VISION_ADMIN_PORT" in done.stderr


def test_nothing_of_a_key_or_a_picture_is_in_the_log_even_at_debug(tmp_path: Path) -> None:
    key, stranger = made_key(tmp_path, "camera"), "vg_" + "s" * 43
    (parsed,) = parse_keys((tmp_path / "keys.jsonl").read_text())
    settings = {
        "VISION_HOST": "0.0.0.0",
        "VISION_API_KEYS_FILE": str(tmp_path / "keys.jsonl"),
        "VISION_REPOSITORY": str(require_models()),
        "VISION_LOG_LEVEL": "debug",
    }
    picture = photograph("chelsea")
    with GatewayServer(tmp_path / "log", settings) as gateway:
        gateway.wait_for("/health/ready")
        with httpx.Client(base_url=gateway.url, timeout=30) as client:
            jpeg = {"Content-Type": "image/jpeg"}
            url = "/v1/classify?latency_budget_ms=20000"
            for headers in ({"Authorization": f"Bearer {key}"}, {"X-API-Key": key}):
                assert client.post(url, content=picture, headers={**jpeg, **headers}).status_code == 200
                files = {"file": ("name-of-the-file.jpg", picture, "image/jpeg")}
                assert client.post(url, files=files, headers=headers).status_code == 200
                body = {"image": base64.b64encode(picture).decode()}
                assert client.post(url, json=body, headers=headers).status_code == 200
                assert client.post(f"{url}&key={key}", content=picture, headers={**jpeg, **headers}).status_code == 422
                assert client.get(f"/v1/models/{key}", headers=headers).status_code == 404
            assert client.post(url, content=picture, headers={"X-API-Key": stranger, **jpeg}).status_code == 401
            assert client.get(f"/{stranger}").status_code == 401
            assert client.post(url, content=picture[:5000], headers={"X-API-Key": key, **jpeg}).status_code == 400
            assert client.get("/metrics", headers={"X-API-Key": key}).status_code == 404
    log = (tmp_path / "log").read_text(errors="replace")
    assert "POST /v1/classify?latency_budget_ms 200 " in log, "there is no log: the test shows nothing"
    assert "client=camera" in log
    encoded = base64.b64encode(picture).decode()
    for secret in (key, key[3:], stranger, parsed.sha256, "name-of-the-file", encoded[:40], encoded[2000:2040]):
        assert secret not in log
    assert repr(picture[:12])[2:-1] not in log


def test_metrics_are_on_the_admin_port_and_both_ports_end_together(tmp_path: Path) -> None:
    settings = {"VISION_REPOSITORY": str(require_models())}
    with GatewayServer(tmp_path / "log", settings) as gateway:
        gateway.wait_for("/health/ready")
        assert httpx.get(f"{gateway.url}/metrics").status_code == 404
        page = httpx.get(f"{gateway.admin_url}/metrics")
        assert "vision_in_flight_requests 0.0" in page.text
        for answer in (page, httpx.get(f"{gateway.url}/health/live")):
            assert "server" not in answer.headers
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
    for url in (gateway.url, gateway.admin_url):
        with pytest.raises(httpx.ConnectError):
            httpx.get(url)
    assert "Traceback" not in gateway.log()


def test_without_an_admin_port_there_are_no_metrics_anywhere(tmp_path: Path) -> None:
    with GatewayServer(tmp_path / "log", {"VISION_REPOSITORY": str(require_models())}, admin=False) as gateway:
        assert httpx.get(f"{gateway.url}/metrics").status_code == 404
        with pytest.raises(httpx.ConnectError):
            httpx.get(gateway.admin_url)


def test_with_a_certificate_it_speaks_https_only_and_grpc_over_tls(tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    try:
        subprocess.run([*make, *names], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no openssl here to make a certificate")
    grpc_port = free_port()
    settings = {
        "VISION_REPOSITORY": str(require_models()),
        "VISION_TLS_CERT": str(certificate),
        "VISION_TLS_KEY": str(key),
        "VISION_GRPC_PORT": str(grpc_port),
    }
    trusting = ssl.create_default_context(cafile=str(certificate))
    with GatewayServer(tmp_path / "log", settings, verify=trusting) as gateway:
        gateway.wait_for("/health/ready")
        assert gateway.url.startswith("https://")
        answer = httpx.post(
            f"{gateway.url}/v1/classify?latency_budget_ms=20000",
            content=photograph("chelsea"),
            headers={"Content-Type": "image/jpeg"},
            verify=trusting,
            timeout=30,
        )
        assert answer.status_code == 200, answer.text
        with pytest.raises(httpx.TransportError):
            httpx.get(gateway.url.replace("https", "http") + "/health/live")
        address = f"127.0.0.1:{grpc_port}"
        with triton.InferenceServerClient(address, ssl=True, root_certificates=str(certificate)) as client:
            assert client.is_server_live(client_timeout=20)
        with triton.InferenceServerClient(address) as client, pytest.raises(InferenceServerException):
            client.is_server_live(client_timeout=2)
        environment = {"VISION_PORT": str(gateway.port), "VISION_TLS_CERT": str(certificate)}
        check = [sys.executable, str(ROOT / "deploy" / "image" / "healthcheck.py")]
        assert subprocess.run(check, env={**os.environ, **environment}, check=False).returncode == 0
