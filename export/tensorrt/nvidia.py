"""TensorRT itself. The only lines of the project that need a GPU to be run; all around them is tested without one.

Written against the documentation of TensorRT 10 and 11: a strongly typed network takes every precision from the graph,
which 11 does always and 10 when told; 11 has no FP16 or INT8 flag left to set. Memory and streams are CUDA's own
Python bindings (`cuda-bindings`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.tensorrt.builder import VERSIONS, Arrays, BatchRange, BuildRefused, PlanBuilder, Target, TensorRtUnavailable
from service.manifest import INPUT_NAME

INSTALL = "python -m pip install -c constraints.txt -e '.[gpu]', in the clone"


def find_builder() -> PlanBuilder:
    """A builder on the first GPU. Raises TensorRtUnavailable with one sentence."""
    try:
        import tensorrt
    except ImportError as err:
        raise TensorRtUnavailable(f"no TensorRT here: the package tensorrt is not installed ({INSTALL}).") from err
    check_version(str(tensorrt.__version__))
    try:
        from cuda.bindings import runtime
    except ImportError as err:
        raise TensorRtUnavailable(f"no TensorRT here: cuda-bindings is not installed ({INSTALL}).") from err
    error, count = runtime.cudaGetDeviceCount()
    if error != runtime.cudaError_t.cudaSuccess or not count:
        raise TensorRtUnavailable(f"no TensorRT here: no GPU answers ({error.name}).")
    return NvidiaBuilder(tensorrt, runtime)


def check_version(version: str) -> None:
    """Raises TensorRtUnavailable for a version that this exporter was not written for."""
    major = version.partition(".")[0]
    if major not in {str(known) for known in VERSIONS}:
        known = " or ".join(map(str, VERSIONS))
        raise TensorRtUnavailable(f"no TensorRT here that is known: version {version} is installed, not {known}.")


class NvidiaBuilder:
    """One GPU, one version."""

    def __init__(self, tensorrt: Any, runtime: Any) -> None:
        self._trt = tensorrt
        self._cuda = runtime
        self._logger = tensorrt.Logger(tensorrt.Logger.WARNING)

    @property
    def target(self) -> Target:
        attributes = self._cuda.cudaDeviceAttr
        major, minor = (
            self._call("cudaDeviceGetAttribute", attribute, 0)
            for attribute in (
                attributes.cudaDevAttrComputeCapabilityMajor,
                attributes.cudaDevAttrComputeCapabilityMinor,
            )
        )
        name = self._call("cudaGetDeviceProperties", 0).name
        gpu = name.decode() if isinstance(name, bytes) else str(name)
        return Target(str(self._trt.__version__), f"{major}.{minor}", gpu.rstrip("\0"))

    def build(self, onnx_file: Path, batches: BatchRange) -> bytes:
        trt = self._trt
        builder = trt.Builder(self._logger)
        # TensorRT 11 knows nothing but strongly typed networks, and ignores the flag.
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(network, self._logger)
        if not parser.parse_from_file(str(onnx_file)):
            reasons = [str(parser.get_error(index).desc()) for index in range(parser.num_errors)]
            raise BuildRefused(f"TensorRT does not take the graph: {'; '.join(reasons)[:300]}")
        config = builder.create_builder_config()
        # FP32 means FP32: who wants speed serves the FP16 variant, which says so.
        config.clear_flag(trt.BuilderFlag.TF32)
        profile = builder.create_optimization_profile()
        picture = tuple(network.get_input(0).shape)[1:]
        profile.set_shape(INPUT_NAME, *((n, *picture) for n in (batches.least, batches.usual, batches.most)))
        config.add_optimization_profile(profile)
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise BuildRefused("TensorRT could not build a plan of the graph; its log above says why.")
        return bytes(plan)

    @contextmanager
    def opened(self, plan: bytes) -> Iterator[NvidiaRunner]:
        engine = self._trt.Runtime(self._logger).deserialize_cuda_engine(plan)
        if engine is None:
            raise BuildRefused("TensorRT does not take back the plan that it built.")
        runner = NvidiaRunner(self._trt, engine, self._call)
        try:
            yield runner
        finally:
            runner.close()

    def _call(self, function: str, *arguments: Any) -> Any:
        """What the CUDA call returns beside its error code. Raises BuildRefused for any error."""
        error, *rest = getattr(self._cuda, function)(*arguments)
        if error != self._cuda.cudaError_t.cudaSuccess:
            raise BuildRefused(f"{function}: {error.name}")
        return rest[0] if rest else None


class NvidiaRunner:
    """One plan with one stream; its memory on the GPU grows with the largest batch seen."""

    def __init__(self, tensorrt: Any, engine: Any, call: Callable[..., Any]) -> None:
        self._trt = tensorrt
        self._engine = engine
        self._context = engine.create_execution_context()
        self._call = call
        self._stream = call("cudaStreamCreate")
        self._memory: dict[str, tuple[int, int]] = {}

    def run(self, pixels: NDArray[np.uint8]) -> Arrays:
        context, engine = self._context, self._engine
        if not context.set_input_shape(INPUT_NAME, pixels.shape):
            raise BuildRefused(f"the plan does not take {len(pixels)} pictures at once.")
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        outputs = {
            name: np.empty(tuple(context.get_tensor_shape(name)), self._trt.nptype(engine.get_tensor_dtype(name)))
            for name in names
            if name != INPUT_NAME
        }
        image = np.ascontiguousarray(pixels)
        for name, array in {INPUT_NAME: image, **outputs}.items():
            context.set_tensor_address(name, self._address(name, array.nbytes))
        self._copy(self._memory[INPUT_NAME][0], image.ctypes.data, image.nbytes, "cudaMemcpyHostToDevice")
        if not context.execute_async_v3(int(self._stream)):
            raise BuildRefused("the plan failed while running.")
        self._call("cudaStreamSynchronize", self._stream)
        for name, array in outputs.items():
            self._copy(array.ctypes.data, self._memory[name][0], array.nbytes, "cudaMemcpyDeviceToHost")
        return outputs

    def close(self) -> None:
        for address, _ in self._memory.values():
            self._call("cudaFree", address)
        self._memory.clear()
        self._call("cudaStreamDestroy", self._stream)

    def _address(self, name: str, size_bytes: int) -> int:
        address, held_bytes = self._memory.get(name, (0, 0))
        if held_bytes < size_bytes:
            if held_bytes:
                self._call("cudaFree", address)
            address = int(self._call("cudaMalloc", size_bytes))
            self._memory[name] = (address, size_bytes)
        return address

    def _copy(self, to: int, source: int, size_bytes: int, kind: str) -> None:
        from cuda.bindings.runtime import cudaMemcpyKind

        self._call("cudaMemcpy", to, source, size_bytes, getattr(cudaMemcpyKind, kind))
