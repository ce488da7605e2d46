"""How Triton is to run an entry: the part of `config.pbtxt` that says nothing about the model.

Requests wait in a bounded queue that knows their deadlines, and are run in batches on a kind of device:

auto          nothing is said: Triton takes the GPUs if there are any, else the cores
cpu           two instances on the cores, warmed at every batch that was profiled
gpu           two instances on every GPU, warmed likewise: one copies while the other computes
gpu-tensorrt  the same, and ONNX Runtime hands what it can to TensorRT, which builds its engines at the first load and
              keeps them in ENGINE_CACHE: no plan to build before, minutes to wait once
"""

from __future__ import annotations

from tritonclient.grpc import model_config_pb2

from service.manifest import Device

# Triton ignores a request's own timeout unless the default is larger (a default of 0 switches them off), so the
# default stands above the longest budget a client may ask for.
QUEUE_TIMEOUT_US = 60_000_000
# 0 would be unbounded.
QUEUE_LIMIT = 256

INSTANCES = 2
# Of the container; docker-compose.yml mounts a volume there that only Triton and the exporter can write.
ENGINE_CACHE = "/engines"
WORKSPACE_BYTES = 1 << 30


def batch_with_deadlines(config: model_config_pb2.ModelConfig) -> None:
    """Adds to a config with a batch axis: batches of what waits, by priority, and nobody waits beyond the deadline."""
    batching = config.dynamic_batching
    batching.max_queue_delay_microseconds = 500
    batching.priority_levels = 3
    batching.default_priority_level = 2
    policy = batching.default_queue_policy
    policy.timeout_action = model_config_pb2.ModelQueuePolicy.REJECT
    policy.default_timeout_microseconds = QUEUE_TIMEOUT_US
    policy.allow_timeout_override = True
    policy.max_queue_size = QUEUE_LIMIT


def serve_on(
    config: model_config_pb2.ModelConfig, device: Device, version: str, profiled_batches: tuple[int, ...]
) -> None:
    """Adds to a config that has its input, backend and max_batch_size. Nothing but `version` will be served."""
    # Without it Triton takes the highest version folder that it finds, also one that is being built beside this one.
    config.version_policy.specific.versions.append(int(version))
    if device == "auto":
        return
    kind = "KIND_CPU" if device == "cpu" else "KIND_GPU"
    config.instance_group.add(kind=kind, count=INSTANCES)
    batches = warm_batches(config.max_batch_size, profiled_batches)
    if device == "gpu-tensorrt" and config.backend == "onnxruntime":
        _accelerate(config)
        # An engine holds for the batches seen so far, and is built again for others: the ends of the range come first.
        ends = (1, max(1, config.max_batch_size))
        batches = tuple(dict.fromkeys((*ends, *batches)))
    for batch in batches:
        _warm_up(config, batch)


def warm_batches(max_batch_size: int, profiled_batches: tuple[int, ...]) -> tuple[int, ...]:
    """1 and the profiled batches that fit, ascending."""
    return tuple(sorted({1, *(batch for batch in profiled_batches if 1 <= batch <= max_batch_size)}))


def _warm_up(config: model_config_pb2.ModelConfig, batch: int) -> None:
    image = config.input[0]
    warm_up = config.model_warmup.add(name=f"batch_{batch}", batch_size=batch)
    noise = warm_up.inputs[image.name]
    noise.data_type = image.data_type
    noise.dims.extend(image.dims)
    noise.random_data = True


def _accelerate(config: model_config_pb2.ModelConfig) -> None:
    """ONNX Runtime's TensorRT, with what it builds kept on disk.

    No precision_mode: the graph says its own precision, and TensorRT 11 knows no other way. No trt_profile_*_shapes:
    they must name the inputs of the part of the graph that TensorRT takes, which ONNX Runtime decides when it loads.
    """
    accelerator = config.optimization.execution_accelerators.gpu_execution_accelerator.add(name="tensorrt")
    accelerator.parameters.update(
        {
            "max_workspace_size_bytes": str(WORKSPACE_BYTES),
            "trt_engine_cache_enable": "true",
            "trt_engine_cache_path": ENGINE_CACHE,
            "trt_timing_cache_enable": "true",
            "trt_timing_cache_path": ENGINE_CACHE,
        }
    )
