"""The Open Inference Protocol's documents about the server and its models, as OpenAPI shows them."""

from __future__ import annotations

from typing import Any, Literal

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import MessageToDict
from pydantic import Field

from service.entry_config import config_from_card
from service.fleet import Fleet
from service.manifest import VERSION, ModelCard
from service.model_statistics import Record, Runs, Span
from service.schemas import Wire

EXTENSIONS = ["binary_tensor_data", "model_configuration", "schedule_policy", "statistics"]
_PLATFORMS = {"onnxruntime": "onnxruntime_onnx", "tensorrt": "tensorrt_plan"}
_64_BIT = (FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64)


class TensorError(Wire):
    """How the Open Inference Protocol says what went wrong."""

    error: str = Field(description="A sentence for the client.", examples=["input image must be UINT8, not 'FP32'"])


class ServerLive(Wire):
    live: bool


class ServerReady(Wire):
    ready: bool


class ServerMetadata(Wire):
    name: str
    version: str
    extensions: list[str]


class TensorMetadata(Wire):
    name: str
    datatype: str
    shape: list[int] = Field(description="-1: any number of rows, up to the model's max_batch_size.")


class ModelMetadata(Wire):
    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ModelReady(Wire):
    name: str
    ready: bool


class IndexEntry(Wire):
    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: str


class SpanDocument(Wire):
    count: int
    ns: int


class InferenceStatistics(Wire):
    """`compute_input` is reading and unpacking tensors, or decoding pictures; `compute_output` the way back."""

    success: SpanDocument
    fail: SpanDocument
    queue: SpanDocument
    compute_input: SpanDocument
    compute_infer: SpanDocument
    compute_output: SpanDocument


class BatchStatistics(Wire):
    batch_size: int
    compute_infer: SpanDocument


class StatisticsOfModel(Wire):
    """Since the gateway started, of pictures and tensors alike. On a Triton `queue` is 0: it is part of the run."""

    name: str
    version: str
    last_inference: int = Field(description="Unix time in milliseconds; 0 if it has not run.")
    inference_count: int = Field(description="Pictures.")
    execution_count: int = Field(description="Runs, of whole batches.")
    inference_stats: InferenceStatistics
    batch_stats: list[BatchStatistics]


class Statistics(Wire):
    model_stats: list[StatisticsOfModel]


class OutputTensor(Wire):
    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, int] | None = Field(None, description="`binary_data_size`, if it follows as bytes.")
    data: list[float] | None = Field(None, description="Numbers in row-major order, flat.")


class InferAnswer(Wire):
    id: str | None = Field(None, description="The request's.")
    model_name: str
    model_version: str
    outputs: list[OutputTensor] = Field(description="As asked for, in that order.")


def model_metadata(card: ModelCard) -> ModelMetadata:
    rows = -1 if card.max_batch_size > 0 else 1
    return ModelMetadata(
        name=card.name,
        versions=[VERSION],
        platform=_PLATFORMS.get(card.backend, card.backend),
        inputs=[TensorMetadata(name=card.input_name, datatype="UINT8", shape=[rows, *card.resize.size_hw, 3])],
        outputs=[
            TensorMetadata(name=spec.name, datatype=spec.dtype, shape=[rows, *spec.dims]) for spec in card.outputs
        ],
    )


def model_config(card: ModelCard) -> dict[str, Any]:
    """Triton's ModelConfig as vision-export wrote it, as Triton shows it: 64-bit numbers are numbers, not strings."""
    config = config_from_card(card)
    document = MessageToDict(config, preserving_proto_field_name=True)
    _numbers_in(document, config.DESCRIPTOR)
    return {"max_batch_size": 0, "platform": _PLATFORMS.get(card.backend, "")} | document


def index(fleet: Fleet) -> list[IndexEntry]:
    """Every model the gateway has seen. One that is not in memory is not ready; a request for it may bring it there."""
    return [_index_entry(fleet, card) for card in fleet.cards]


def _index_entry(fleet: Fleet, card: ModelCard) -> IndexEntry:
    if not fleet.ready:
        return IndexEntry(
            name=card.name, version=VERSION, state="UNAVAILABLE", reason="the inference server does not answer"
        )
    if not fleet.loaded(card):
        return IndexEntry(name=card.name, version=VERSION, state="UNAVAILABLE", reason=fleet.state(card.name))
    return IndexEntry(name=card.name, version=VERSION, state="READY", reason="")


def statistics_of(name: str, record: Record) -> StatisticsOfModel:
    return StatisticsOfModel(
        name=name,
        version=VERSION,
        last_inference=record.last_unix_ms,
        inference_count=record.rows,
        execution_count=round(record.runs),
        inference_stats=InferenceStatistics(
            success=_span(record.success),
            fail=_span(record.fail),
            queue=_span(record.queue),
            compute_input=_span(record.input),
            compute_infer=_span(record.infer),
            compute_output=_span(record.output),
        ),
        batch_stats=[_batch(rows, batch) for rows, batch in sorted(record.by_batch.items())],
    )


def _span(span: Span) -> SpanDocument:
    return SpanDocument(count=span.count, ns=round(span.ms * 1e6))


def _batch(rows: int, batch: Runs) -> BatchStatistics:
    return BatchStatistics(
        batch_size=rows, compute_infer=SpanDocument(count=round(batch.runs), ns=round(batch.infer_ms * 1e6))
    )


def _numbers_in(document: dict[str, Any], descriptor: Descriptor) -> None:
    """Protobuf's JSON has 64-bit integers as strings; here they become numbers, in place."""
    for field in descriptor.fields:
        value = document.get(field.name)
        if value is None:
            continue
        if field.cpp_type in _64_BIT:
            document[field.name] = [int(v) for v in value] if isinstance(value, list) else int(value)
        elif field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for child in value if isinstance(value, list) else [value]:
                _numbers_in(child, field.message_type)
