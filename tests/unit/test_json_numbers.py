"""Arrays of numbers in JSON: the same numbers as a JSON parser reads, and the same refusals."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.json_numbers import cut_of, cut_out, read_bytes, write_numbers

SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=4)


def read(text: str, count: int) -> NDArray[np.uint8]:
    return read_bytes(memoryview(text.encode()), count)


@given(SHAPES, st.integers(0, 2**32), st.sampled_from([None, 1]), st.booleans())
def test_nested_and_flat_arrays_are_what_json_says(shape: list[int], seed: int, indent: int | None, flat: bool) -> None:
    numbers = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    document = {"data": (numbers.ravel() if flat else numbers).tolist(), "shape": shape}
    text = json.dumps(document, indent=indent).encode()
    header, cut = cut_out(text)
    data = cut_of(json.loads(header)["data"], cut)
    assert data is not None
    assert (read_bytes(data, numbers.size) == numbers.ravel()).all()


def test_an_array_of_many_pieces_is_read_whole() -> None:
    numbers = np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), dtype=np.uint8)
    assert (read(json.dumps(numbers.tolist()), numbers.size) == numbers.ravel()).all()


@pytest.mark.parametrize(
    "text",
    [
        "[1 2,3]",
        "[1,2,]",
        "[,1,2]",
        "[1,,2]",
        "[1,2,3.5]",
        "[1,2,-3]",
        "[1,2,256]",
        "[1,2,99999999999999999999]",
        "[1,2,null]",
        "[1,2,true]",
        '[1,2,"3"]',
        "[1,2,3]]",
        "[[1,2,3]",
        "[1,2]",
        "[1,2,3,4]",
        "[[1,2][3]]",
        "[]",
        "[1, ,3]",
        "[1,2,\v]",
        "[1,2, ]",
        "[[],1,2]",
        "[1,\f,2]",
        "[+1,2,3]",
        "[1,2,1e2]",
        "[1,2,0x3]",
        "[1,2,NaN]",
        "[" + " " * 100_000 + "1,2,3]",
    ],
)
def test_what_is_no_array_of_three_bytes_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"data|brackets"):
        read(text, 3)


@pytest.mark.parametrize(
    ("document", "cuts"),
    [
        ({"a": 'a "data":[1,2] in a string', "data": [1]}, 1),
        ({"data": ["a", "b"]}, 0),
        ({"data": [{"data": [1, 2]}]}, 1),
        ({"data": 3}, 0),
        ({"data": [], "b": [{"data": [1, [2]]}, {"data": [3]}]}, 3),
        ({"a": "data", "b": ["data", [1]], "parameters": {"data": [5]}}, 1),
        ({"a\\": "\\", 'b"data': [1], "data": [2], "c": "\\\\"}, 2),
    ],
)
def test_the_rest_of_the_json_stays_what_it_is(document: Any, cuts: int) -> None:
    header, cut = cut_out(json.dumps(document).encode())
    assert len(cut) == cuts

    def put_back(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: put_back(value) for key, value in node.items()}
        if isinstance(node, list):
            return [put_back(value) for value in node]
        text = cut_of(node, cut)
        return node if text is None else json.loads(bytes(text))

    assert put_back(json.loads(header)) == document


def test_a_mark_of_ones_own_is_no_array() -> None:
    header, cut = cut_out(b'{"data":[1], "other":{"data":"cut:0"}}')
    assert len(cut) == 1
    assert cut_of(json.loads(header)["other"]["data"], cut) is None


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "float16", "float32", "float64"])
def test_written_numbers_come_back_as_they_were(dtype: str) -> None:
    random = np.random.default_rng(1)
    array = (random.normal(size=(3, 5000)) * 100).astype(dtype) if "float" in dtype else random.integers(0, 255, 15_000)
    text = b"".join(write_numbers(array.astype(dtype)))
    assert (np.array(json.loads(text), dtype=dtype) == array.astype(dtype).ravel()).all()


def test_others_run_while_a_long_array_is_read() -> None:
    """The parser that this stands in for holds the interpreter for 60 ms here."""
    text = memoryview(json.dumps(np.full(600_000, 128).tolist()).encode())
    gaps, stop = [0.0], threading.Event()

    def tick() -> None:
        before = time.perf_counter()
        while not stop.is_set():
            time.sleep(0.0002)
            gaps.append(time.perf_counter() - before)
            before = time.perf_counter()

    other = threading.Thread(target=tick)
    other.start()
    time.sleep(0.01)
    ticks = len(gaps)
    read_bytes(text, 600_000)
    ticks = len(gaps) - ticks
    stop.set()
    other.join()
    assert ticks >= 5
