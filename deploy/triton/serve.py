"""Runs the Triton server of install.py on a model repository: `make triton`.

The process becomes the server (no parent stays behind), so SIGTERM and Ctrl-C are Triton's own: it stops accepting,
lets running inferences finish for `--exit-timeout` seconds, and goes.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import install


def main() -> None:
    args = _arguments()
    try:
        install.check_installed()
    except install.CannotRun as err:
        sys.exit(f"no Triton here: {err}")
    if not args.repository.is_dir():
        sys.exit(f"{args.repository} is not a folder")
    environment = os.environ | install.server_environment() | {"TRITON_ONNXRUNTIME_THREADS": str(args.threads)}
    environment |= {"TRITON_STUB_NICENESS": str(os.nice(0))} if _may_raise_priority() else {}
    print(
        f"Triton on http {args.http_port}, grpc {args.grpc_port}, metrics {args.metrics_port} of 127.0.0.1\n"
        f"the gateway on it:  VISION_ENGINE=triton VISION_TRITON_URL=127.0.0.1:{args.grpc_port} vision serve",
        flush=True,
    )
    os.execve(install.server_binary(), server_command(args), environment)  # noqa: S606


def server_command(args: argparse.Namespace) -> list[str]:
    """The server's arguments, each with its reason."""
    return [
        "tritonserver",
        f"--model-repository={args.repository.resolve()}",
        f"--backend-directory={install.BACKENDS}",
        # Everything is loaded at the start, and a new entry is one call of the load API away; or nothing is,
        # where a gateway with a memory budget loads. Not `poll`: it looks at folders while they are being written, and
        # forgets a model whose new version is broken.
        "--model-control-mode=explicit",
        *([] if args.cold else ["--load-model=*"]),
        # A broken entry is not ready and says so; the others serve.
        "--exit-on-error=false",
        "--strict-readiness=true",
        # config.pbtxt is complete; a guess would only hide that it is not.
        "--disable-auto-complete-config",
        "--http-address=127.0.0.1",
        "--grpc-address=127.0.0.1",
        "--metrics-address=127.0.0.1",
        f"--http-port={args.http_port}",
        f"--grpc-port={args.grpc_port}",
        f"--metrics-port={args.metrics_port}",
        # There is no GPU to ask, and asking costs a warning each time.
        "--allow-gpu-metrics=false",
        f"--exit-timeout-secs={args.exit_timeout}",
        # What each model instance takes of /dev/shm at once; it grows when larger batches come.
        "--backend-config=python,shm-default-byte-size=4194304",
        *(["--log-verbose=1"] if args.verbose else []),
        *_tracing(args.trace_endpoint),
    ]


def _tracing(endpoint: str) -> list[str]:
    """Triton's own spans, joined to the trace that the gateway hands on: docs/tracing.md."""
    if not endpoint:
        return []
    settings = ("mode=opentelemetry", f"opentelemetry,url={endpoint}/v1/traces", "rate=1", "level=TIMESTAMPS")
    return [word for setting in settings for word in ("--trace-config", setting)]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run the Triton server on a model repository.")
    parser.add_argument("--repository", type=Path, default=install.ROOT / "model_repository")
    parser.add_argument("--http-port", type=int, default=8000)
    parser.add_argument("--grpc-port", type=int, default=8001)
    parser.add_argument("--metrics-port", type=int, default=8002)
    parser.add_argument("--threads", type=int, default=_threads(), help="of ONNX Runtime, for each instance")
    parser.add_argument("--exit-timeout", type=int, default=10, help="seconds that running inferences get on SIGTERM")
    parser.add_argument("--trace-endpoint", default="", help="collector of traces, OTLP over HTTP")
    parser.add_argument("--cold", action="store_true", help="load nothing: a gateway with a memory budget does")
    parser.add_argument("--verbose", action="store_true", help="log every request")
    return parser.parse_args()


def _may_raise_priority() -> bool:
    """Whether what was niced may be as before: root, CAP_SYS_NICE. A thread tries it, each has its own (Linux)."""
    own = os.nice(0)

    def lower_and_raise() -> bool:
        with contextlib.suppress(PermissionError):
            for niceness in (min(19, own + 1), own):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)
            return True
        return False

    with ThreadPoolExecutor(1) as aside:
        return aside.submit(lower_and_raise).result()


def _threads() -> int:
    # Triton makes two instances of each model on a CPU, and both may run at once. Not all cores need be ours.
    return max(1, len(os.sched_getaffinity(0)) // 2)


if __name__ == "__main__":
    main()
