"""What ONNX Runtime can run on here."""

from __future__ import annotations

import ctypes

import onnxruntime as ort


def usable_providers() -> tuple[str, ...]:
    """ONNX Runtime's providers that can really work here, best first.

    The GPU build lists CUDA and TensorRT on machines that have neither, so the driver is asked, not the build.
    """
    available = ort.get_available_providers()
    wanted = ["CPUExecutionProvider"]
    if _cuda_devices() > 0:
        wanted = ["TensorrtExecutionProvider", "CUDAExecutionProvider", *wanted]
    return tuple(name for name in wanted if name in available)


def _cuda_devices() -> int:
    for library in ("libcuda.so.1", "nvcuda.dll"):
        try:
            cuda = ctypes.CDLL(library)
        except OSError:
            continue
        count = ctypes.c_int(0)
        if cuda.cuInit(0) == 0 and cuda.cuDeviceGetCount(ctypes.byref(count)) == 0:
            return count.value
    return 0
