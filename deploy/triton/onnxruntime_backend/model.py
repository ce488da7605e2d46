"""Triton's `onnxruntime` backend in Python: serves repository entries made for NVIDIA's own, unchanged.

Runs inside Triton's Python stub (`triton_python_backend_utils` exists only there). Triton finds no
`libtriton_onnxruntime.so` in the backend's folder and takes this file instead. One instance runs one batch at a
time; Triton's scheduler made the batch, so what arrives together is run together.
"""

import contextlib
import hashlib
import importlib
import json
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]

# Of the thread that loads a model: those that serve meanwhile go first (Linux: each thread has its own).
LOADER_NICENESS = 10


class TritonPythonModel:
    """One loaded entry. Triton calls `initialize`, then `execute` for every batch, then `finalize`."""

    def initialize(self, args):
        """Opens the entry's ONNX file. Any exception makes the model not ready, with its text as the reason."""
        config = json.loads(args["model_config"])
        filename = config.get("default_model_filename") or "model.onnx"
        path = Path(args["model_repository"]) / args["model_version"] / filename
        self._input_names = [tensor["name"] for tensor in config["input"]]
        self._batched = config.get("max_batch_size", 0) > 0
        with ThreadPoolExecutor(1, initializer=_lower_priority) as aside:
            ort = aside.submit(importlib.import_module, "onnxruntime").result()
            aside.submit(_check_digests, config, path).result()
            options = _options(ort)
            # Threads of its own would inherit the priority of the one that makes them, for good.
            alone = options.intra_op_num_threads == 1
            self._session = aside.submit(_open, ort, path, options).result() if alone else _open(ort, path, options)
            _check_names(config, self._session)
            (aside.submit(self._warm, config).result if alone else lambda: self._warm(config))()
        _raise_priority()

    def execute(self, requests):
        """One response per request, in order. A request that fails takes no other down with it."""
        responses = [_cancelled() if request.is_cancelled() else None for request in requests]
        waiting = [i for i, response in enumerate(responses) if response is None]
        for group in self._groups(requests, waiting):
            for i, response in zip(group, self._run([requests[i] for i in group]), strict=True):
                responses[i] = response
        return responses

    def _warm(self, config):
        """Runs one grey picture, so that the first request does not pay for it, where all sizes are known."""
        shapes = {tensor["name"]: [int(dim) for dim in tensor["dims"]] for tensor in config["input"]}
        if any(dim < 0 for dims in shapes.values() for dim in dims):
            return
        batch = [1] if self._batched else []
        types = {tensor["name"]: pb_utils.triton_string_to_numpy(tensor["data_type"]) for tensor in config["input"]}
        self._session.run(None, {name: np.full(batch + dims, 114, types[name]) for name, dims in shapes.items()})

    def _groups(self, requests, waiting):
        """Indices of requests that can share a run: same wanted outputs. Without a batch axis each runs alone."""
        if not self._batched:
            return [[i] for i in waiting]
        groups = {}
        for i in waiting:
            groups.setdefault(tuple(sorted(requests[i].requested_output_names())), []).append(i)
        return list(groups.values())

    def _run(self, requests):
        """One response per request. If the batch fails, each is tried alone, so that only the guilty one fails."""
        try:
            return self._run_together(requests)
        except Exception as err:
            # ONNX Runtime raises many types; whichever it is, it belongs to these requests and not to the server.
            if len(requests) == 1:
                return [_failed(err)]
            return [self._run([request])[0] for request in requests]

    def _run_together(self, requests):
        wanted = list(requests[0].requested_output_names())
        parts = {name: [_input(request, name) for request in requests] for name in self._input_names}
        outputs = self._session.run(wanted, {name: _concatenated(arrays) for name, arrays in parts.items()})
        if len(requests) == 1:
            return [_response(wanted, outputs)]
        ends = np.cumsum([len(array) for array in parts[self._input_names[0]]])[:-1]
        rows = [np.split(output, ends) for output in outputs]
        return [_response(wanted, [output[i] for output in rows]) for i in range(len(requests))]

    def finalize(self):
        self._session = None


def _lower_priority():
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOADER_NICENESS)


def _raise_priority():
    """What stub.sh lowered, for every thread that there is now."""
    if niceness := os.environ.get("TRITON_STUB_NICENESS"):
        for thread in Path("/proc/self/task").iterdir():
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.setpriority(os.PRIO_PROCESS, int(thread.name), int(niceness))


def _open(ort, path, options):
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _check_digests(config, path):
    """Compares the files with the digests that the card of an entry of this project has; others have none."""
    parameters = {key: value["string_value"] for key, value in config.get("parameters", {}).items()}
    expected = {path: parameters.get("onnx_sha256")}
    if "verified_external_data" in parameters:
        name, _, digest = parameters["verified_external_data"].split(" ")
        expected[path.with_name(Path(name).name)] = digest
    for file, digest in expected.items():
        if digest is not None and _sha256(file) != digest:
            raise pb_utils.TritonModelException(f"{file.name} is not the file that its card vouches for: wrong sha256")


def _sha256(file):
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _options(ort):
    options = ort.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("TRITON_ONNXRUNTIME_THREADS", "0"))
    options.inter_op_num_threads = 1
    # Every model has its own thread pool: those that wait must not burn the cores of the one that runs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _check_names(config, session):
    graph = {node.name for node in (*session.get_inputs(), *session.get_outputs())}
    missing = {tensor["name"] for tensor in (*config["input"], *config["output"])} - graph
    if missing:
        raise pb_utils.TritonModelException(f"config.pbtxt names {sorted(missing)}, which the ONNX graph does not have")


def _input(request, name):
    return pb_utils.get_input_tensor_by_name(request, name).as_numpy()


def _concatenated(arrays):
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _response(names, arrays):
    # Triton reads the buffer, not the strides: a slice of a batch must be contiguous.
    tensors = [pb_utils.Tensor(name, np.ascontiguousarray(array)) for name, array in zip(names, arrays, strict=True)]
    return pb_utils.InferenceResponse(output_tensors=tensors)


def _cancelled():
    return _error("the client has gone", pb_utils.TritonError.CANCELLED)


def _failed(err):
    return _error(f"ONNX Runtime: {err}", pb_utils.TritonError.INTERNAL)


def _error(message, code):
    # A new object every time: Triton 2.51 dies of a segmentation fault when one response answers two requests.
    return pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(message, code))
