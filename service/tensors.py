"""Tensors on the wire: the Open Inference Protocol's inference request and answer, as JSON and as raw bytes.

A request is JSON; tensors either stand in it as numbers or follow it as bytes, in the order in which they are named
(the binary tensor extension). Answers likewise.
Source: KServe, Open Inference Protocol v2; Triton, protocol/extension_binary_data.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydantic_core
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from tritonclient.utils import np_to_triton_dtype

from service.engines.protocol import Pixels
from service.errors import EngineFailed, InvalidBody, InvalidParameter, InvalidTensor, TooLarge
from service.json_numbers import cut_of, cut_out, read_bytes, write_numbers
from service.manifest import VERSION, ModelCard

# All that is JSON but not numbers: names, shapes, parameters.
_MAX_HEADER_BYTES = 64 * 1024
_ECHO_CHARACTERS = 80

Arrays = Mapping[str, NDArray[np.generic]]


class _Incoming(BaseModel):
    # What others attach for themselves (MLServer's content_type, KServe's headers) is none of our business.
    model_config = ConfigDict(extra="ignore", strict=True)


class InputParameters(_Incoming):
    binary_data_size: int | None = Field(None, ge=0, description="The tensor follows the JSON as so many bytes.")
    shared_memory_region: Any = Field(None, exclude=True, json_schema_extra={"deprecated": True})


class OutputParameters(_Incoming):
    binary_data: bool | None = Field(None, description="Answer with bytes behind the JSON, not with numbers in it.")
    classification: Any = Field(None, json_schema_extra={"deprecated": True})
    shared_memory_region: Any = Field(None, json_schema_extra={"deprecated": True})


class RequestParameters(_Incoming):
    timeout: int | None = Field(
        None, ge=0, description="Answer within so many microseconds of the request's headers. 0 or none: no hurry."
    )
    priority: int | None = Field(None, ge=0, le=3, description="1 is served first, 3 is shed first. 0 or none: 2.")
    binary_data_output: bool = Field(False, description="`binary_data` of the outputs that do not say.")
    sequence_id: Any = Field(None, json_schema_extra={"deprecated": True})


class InputTensor(_Incoming):
    name: str = Field(description="As the model's metadata names it: `image`.")
    shape: list[int] = Field(
        description="[N, height, width, 3], N up to the model's max_batch_size.",
        json_schema_extra={"minItems": 4, "maxItems": 4},
    )
    datatype: str = Field(description="RGB, 0..255.", json_schema_extra={"enum": ["UINT8"]})
    parameters: InputParameters = InputParameters()
    data: Any = Field(
        None,
        description="Numbers in row-major order, nested or flat; left out if the tensor follows as bytes.",
        json_schema_extra={"type": "array", "items": {}},
    )


class OutputWish(_Incoming):
    name: str
    parameters: OutputParameters = OutputParameters()


class InferRequest(_Incoming):
    """One batch of pictures, already at the model's size. Pictures of any size go to /v1."""

    id: str = Field("", max_length=1024, description="Comes back as it is.")
    inputs: list[InputTensor] = Field(min_length=1, description="The model's one input.")
    outputs: list[OutputWish] = Field([], description="Which outputs to answer with, in which order; none: all.")
    parameters: RequestParameters = RequestParameters()


@dataclass(frozen=True, slots=True)
class Wanted:
    name: str
    binary: bool


@dataclass(frozen=True, slots=True)
class TensorRequest:
    """A request that its model can answer. pixels (N, H, W, 3); timeout_us and priority as the client gave them."""

    id: str
    pixels: Pixels
    outputs: tuple[Wanted, ...]
    timeout_us: int
    priority: int


def read_request(card: ModelCard, body: bytes | bytearray, header_bytes: int | None) -> TensorRequest:
    """The body's request; its bytes become the pixels without being copied.

    header_bytes  how much of the body is JSON; None: all of it

    Raises InvalidBody, InvalidTensor and InvalidParameter, naming the tensor, and TooLarge.
    """
    if header_bytes is not None and header_bytes > len(body):
        raise InvalidBody(
            f"Inference-Header-Content-Length is {header_bytes}, the body has {len(body)} bytes",
            field="Inference-Header-Content-Length",
        )
    binary = memoryview(body)[len(body) if header_bytes is None else header_bytes :]
    text = body if not binary else body[:header_bytes]
    header, cut = cut_out(text)
    if len(header) > _MAX_HEADER_BYTES:
        limit = f"{_MAX_HEADER_BYTES} bytes"
        raise TooLarge(f"the JSON beside the tensors' numbers exceeds {limit}", field="body", limit=limit)
    try:
        asked = InferRequest.model_validate_json(header)
    except ValidationError as err:
        first = err.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])[:_ECHO_CHARACTERS] or "body"
        raise InvalidBody(f"the JSON cannot be read: {where}: {first['msg']}", field=where) from err
    _refuse_what_is_not_offered(asked)
    outputs = _outputs(card, asked)
    pixels = _pixels(card, asked, cut, binary)
    timeout_us, priority = asked.parameters.timeout or 0, asked.parameters.priority or 2
    return TensorRequest(asked.id, pixels, outputs, timeout_us, priority)


def write_answer(card: ModelCard, request: TensorRequest, arrays: Arrays) -> tuple[list[bytes | memoryview], int]:
    """The answer in pieces, and how many of its bytes are JSON: less than all only if bytes follow."""
    head: dict[str, Any] = {"id": request.id} if request.id else {}
    head |= {"model_name": card.name, "model_version": VERSION}
    text: list[bytes] = [pydantic_core.to_json(head)[:-1], b',"outputs":[']
    binary: list[memoryview] = []
    for i, wanted in enumerate(request.outputs):
        array = np.ascontiguousarray(arrays[wanted.name])
        described = {
            "name": wanted.name,
            "datatype": np_to_triton_dtype(array.dtype),
            "shape": list(array.shape),
        }
        if i:
            text.append(b",")
        if wanted.binary:
            text.append(pydantic_core.to_json(described | {"parameters": {"binary_data_size": array.nbytes}}))
            binary.append(array.reshape(-1).view(np.uint8).data)
        else:
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise EngineFailed(f"{card.name} gave a {wanted.name} that is no numbers")
            text.extend((pydantic_core.to_json(described)[:-1], b',"data":', *write_numbers(array), b"}"))
    text.append(b"]}")
    return [*text, *binary], sum(map(len, text))


def _refuse_what_is_not_offered(asked: InferRequest) -> None:
    shared = [tensor.name for tensor in asked.inputs if tensor.parameters.shared_memory_region]
    shared += [wish.name for wish in asked.outputs if wish.parameters.shared_memory_region]
    if shared:
        raise InvalidTensor(f"{_echo(shared[0])}: shared memory is not offered; send the tensor itself")
    classified = [wish.name for wish in asked.outputs if wish.parameters.classification]
    if classified:
        raise InvalidTensor(f"{_echo(classified[0])}: classification is not offered here; /v1/classify gives labels")
    if asked.parameters.sequence_id:
        raise InvalidParameter("sequences are not offered: each request stands for itself", field="sequence_id")


def _outputs(card: ModelCard, asked: InferRequest) -> tuple[Wanted, ...]:
    default = asked.parameters.binary_data_output
    if not asked.outputs:
        return tuple(Wanted(spec.name, default) for spec in card.outputs)
    names = [wish.name for wish in asked.outputs]
    for name in names:
        if card.output(name) is None:
            has = ", ".join(spec.name for spec in card.outputs)
            raise InvalidTensor(f"{card.name} has no output {_echo(name)}; it has {has}", field="outputs")
        if names.count(name) > 1:
            raise InvalidTensor(f"output {name} is asked for {names.count(name)} times", field="outputs")
    binary = [wish.parameters.binary_data for wish in asked.outputs]
    return tuple(Wanted(name, default if b is None else b) for name, b in zip(names, binary, strict=True))


def _pixels(card: ModelCard, asked: InferRequest, cut: list[memoryview], binary: memoryview) -> Pixels:
    """(N, H, W, 3), once the request's one input is seen to be just that."""
    if [tensor.name for tensor in asked.inputs] != [card.input_name]:
        sent = ", ".join(_echo(tensor.name) for tensor in asked.inputs[:3])
        raise InvalidTensor(f"{card.name} takes one input, {card.input_name}; the request has {sent}", field="inputs")
    tensor = asked.inputs[0]
    shape = _shape(card, tensor)
    size = tensor.parameters.binary_data_size
    if size is None:
        if binary:
            raise _binary_mismatch(tensor.name, 0, len(binary))
        return _numbers(tensor, cut, math.prod(shape)).reshape(shape)
    if tensor.data is not None:
        raise InvalidTensor(f"input {tensor.name} has both data and binary_data_size", field=tensor.name)
    if size != math.prod(shape):
        raise InvalidTensor(
            f"input {tensor.name}: binary_data_size is {size:,}, shape {list(shape)} of UINT8 has {math.prod(shape):,}",
            field=tensor.name,
        )
    if size != len(binary):
        raise _binary_mismatch(tensor.name, size, len(binary))
    return np.frombuffer(binary, np.uint8).reshape(shape)


def _shape(card: ModelCard, tensor: InputTensor) -> tuple[int, ...]:
    if tensor.datatype != "UINT8":
        raise InvalidTensor(
            f"input {tensor.name} must be UINT8, not {_echo(tensor.datatype)}: RGB, 0..255; the model normalises",
            field=tensor.name,
        )
    height, width = card.resize.size_hw
    if tensor.shape[1:] != [height, width, 3] or tensor.shape[0] < 1:
        raise InvalidTensor(
            f"input {tensor.name} must be [N, {height}, {width}, 3], not {_echo(str(tensor.shape))}", field=tensor.name
        )
    limit = max(1, card.max_batch_size)
    if tensor.shape[0] > limit:
        raise InvalidTensor(
            f"input {tensor.name}: {tensor.shape[0]:,} rows in one batch; {card.name} takes {limit}",
            field=tensor.name,
            limit=f"{limit} rows",
        )
    return tuple(tensor.shape)


def _numbers(tensor: InputTensor, cut: list[memoryview], count: int) -> NDArray[np.uint8]:
    text = cut_of(tensor.data, cut)
    if text is None:
        what = "has neither data nor binary_data_size" if tensor.data is None else "data must be an array of numbers"
        raise InvalidTensor(f"input {tensor.name}: {what}", field=tensor.name)
    try:
        return read_bytes(text, count)
    except ValueError as err:
        raise InvalidTensor(f"input {tensor.name}: {err}", field=tensor.name) from err


def _binary_mismatch(name: str, described: int, came: int) -> InvalidTensor:
    return InvalidTensor(
        f"input {name}: {described:,} bytes are described, {came:,} follow the JSON "
        "(Inference-Header-Content-Length says where it ends)",
        field=name,
    )


def _echo(text: str) -> str:
    return repr(text if len(text) <= _ECHO_CHARACTERS else text[:_ECHO_CHARACTERS] + "…")
