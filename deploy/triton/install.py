"""Makes a real Triton server that runs without Docker: `python3.11 deploy/triton/install.py`, `make triton-install`.

    .venv-triton/             its own environment: NVIDIA's server binary, NumPy 1, ONNX Runtime (requirements.txt)
    .cache/triton/backends/   python/       NVIDIA's Python backend and the stub for this Python
                              onnxruntime/  ours: opens model.onnx (onnxruntime_backend/model.py)

Nothing else of the project is touched, and both folders may be deleted. With `--check` it installs nothing and says
in one line on stderr, with status 1, why no server can be started; status 0 means that serve.py will find one.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
VENV = ROOT / ".venv-triton"
BACKENDS = ROOT / ".cache" / "triton" / "backends"
STAMP = "made-from.sha256"

REQUIREMENTS = HERE / "requirements.txt"
MODEL_PY = HERE / "onnxruntime_backend" / "model.py"
STUB_SH = HERE / "onnxruntime_backend" / "stub.sh"

PYTHON = (3, 11)
# The wheel is tagged manylinux_2_35.
GLIBC = (2, 35)


class CannotRun(Exception):
    """One sentence: why there is no Triton here."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Install a Triton server without Docker.")
    parser.add_argument("--check", action="store_true", help="install nothing; status 1 and one line if not ready")
    args = parser.parse_args()
    try:
        if args.check:
            check_installed()
        else:
            print(install())
    except CannotRun as err:
        sys.exit(f"no Triton here: {err}")


def install() -> str:
    """One line about what was done; what is up to date is left alone. Raises CannotRun."""
    check_platform()
    if not _stale():
        return f"Triton is installed in {VENV.name}"
    if VENV in _stale():
        _make_environment()
        _write_stamp(VENV)
    _make_backends()
    _write_stamp(BACKENDS)
    return f"Triton installed in {VENV.name}"


def check_installed() -> None:
    """Returns if serve.py can start a server. Raises CannotRun."""
    check_platform()
    if _stale():
        raise CannotRun("not installed, or from another version of deploy/triton; run `make triton-install`")


def check_platform() -> None:
    """Raises CannotRun if NVIDIA's binary cannot run on this machine with this Python."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise CannotRun(f"the server is built for x86-64 Linux, this is {platform.machine()} {sys.platform}")
    if platform.python_implementation() != "CPython" or sys.version_info[:2] != PYTHON:
        raise CannotRun(f"its Python stub needs CPython 3.11, this is {platform.python_version()}")
    libc, version = platform.libc_ver()
    if libc != "glibc" or tuple(map(int, version.split(".")[:2])) < GLIBC:
        raise CannotRun(f"the server needs glibc {GLIBC[0]}.{GLIBC[1]}, this is {libc or 'no glibc'} {version}")
    try:
        ctypes.CDLL(libpython())
    except OSError as err:
        raise CannotRun("its Python stub needs libpython3.11.so.1.0, and this Python has none") from err


def libpython() -> str:
    """Path of this Python's shared library, or its bare name where only the system's loader can know it."""
    path = Path(sysconfig.get_config_var("LIBDIR")) / "libpython3.11.so.1.0"
    return str(path) if path.exists() else path.name


def site_packages() -> Path:
    return VENV / "lib" / "python3.11" / "site-packages"


def server_environment() -> dict[str, str]:
    """The variables that the server binary and its Python stubs need on top of the caller's own."""
    libraries = [str(site_packages() / "nvidia_pytriton.libs"), sysconfig.get_config_var("LIBDIR")]
    return {
        # The backends are copied away from where their own run paths would find the wheel's libraries.
        "LD_LIBRARY_PATH": ":".join(filter(None, [*libraries, os.environ.get("LD_LIBRARY_PATH")])),
        # The stub embeds an isolated Python, deaf to PYTHONPATH and PYTHONHOME: it looks for the first `python3` of
        # PATH, finds pyvenv.cfg beside it, and reads the packages of that environment.
        "PATH": ":".join([str(VENV / "bin"), os.environ.get("PATH", os.defpath)]),
    }


def server_binary() -> Path:
    return site_packages() / "pytriton" / "tritonserver" / "bin" / "tritonserver"


def _make_environment() -> None:
    shutil.rmtree(VENV, ignore_errors=True)
    # pip of the calling environment fills it, so that it need not hold one itself.
    venv.create(VENV, with_pip=False)
    pip = [sys.executable, "-m", "pip", "--python", str(VENV / "bin" / "python"), "--disable-pip-version-check"]
    how = ["--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:"]
    if subprocess.run([*pip, "install", *how, "-r", str(REQUIREMENTS)], check=False).returncode != 0:  # noqa: S603
        raise CannotRun(f"pip could not install {REQUIREMENTS.name}, see above")
    probe = [str(VENV / "bin" / "python"), "-c", "import numpy, onnxruntime"]
    if subprocess.run(probe, check=False).returncode != 0:  # noqa: S603
        raise CannotRun("onnxruntime cannot be imported in it, see above")


def _make_backends() -> None:
    shutil.rmtree(BACKENDS, ignore_errors=True)
    server = server_binary().parents[1]
    shutil.copytree(server / "backends" / "python", BACKENDS / "python")
    stub = BACKENDS / "python" / "triton_python_backend_stub"
    shutil.copy2(server / "python_backend_stubs" / "3.11" / stub.name, stub.with_name(f"{stub.name}.real"))
    shutil.copy2(STUB_SH, stub)
    stub.chmod(0o755)
    (BACKENDS / "onnxruntime").mkdir()
    shutil.copy2(MODEL_PY, BACKENDS / "onnxruntime")


def _stale() -> list[Path]:
    """The folders that are missing, half made, or made from something else than what lies here now."""
    return [folder for folder in (VENV, BACKENDS) if _read_stamp(folder) != _inputs_sha256(folder)]


def _inputs_sha256(folder: Path) -> str:
    """Changes whenever the folder should be made anew: with the pins and the Python, the backends also with ours."""
    parts = [REQUIREMENTS.read_bytes(), sys.base_prefix.encode()]
    if folder == BACKENDS:
        parts += [MODEL_PY.read_bytes(), STUB_SH.read_bytes()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _read_stamp(folder: Path) -> str | None:
    stamp = folder / STAMP
    return stamp.read_text(encoding="ascii") if stamp.is_file() else None


def _write_stamp(folder: Path) -> None:
    # Last of all: a folder without it was interrupted.
    (folder / STAMP).write_text(_inputs_sha256(folder), encoding="ascii")


if __name__ == "__main__":
    main()
