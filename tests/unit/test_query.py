"""What is remembered of queries is only what is right, and never another route's."""

from __future__ import annotations

import pytest
from fastapi import Request
from pydantic import ValidationError

from service.errors import InvalidParameter
from service.query import query_of, refuse_repeated
from service.schemas import ClassifyQuery, EmbedQuery


def asking(query: bytes) -> Request:
    return Request({"type": "http", "query_string": query, "headers": []})


def test_the_same_query_means_the_same_and_is_read_once() -> None:
    first = query_of(asking(b"model=a&top_k=3"), ClassifyQuery)
    assert (first.model, first.top_k) == ("a", 3)
    assert query_of(asking(b"model=a&top_k=3"), ClassifyQuery) is first
    assert query_of(asking(b"model=b&top_k=3"), ClassifyQuery).model == "b"


def test_another_route_reads_the_same_query_its_own_way() -> None:
    assert query_of(asking(b"priority=1"), ClassifyQuery).top_k == 5
    assert query_of(asking(b"priority=1"), EmbedQuery).normalise is False


def test_nobody_can_change_what_others_will_get() -> None:
    with pytest.raises(ValidationError):
        setattr(query_of(asking(b"top_k=2"), ClassifyQuery), "top_k", 9)  # noqa: B010


@pytest.mark.parametrize("query", [b"top_k=none", b"colour=red", b"top_k=" + b"9" * 5000], ids=["kind", "name", "long"])
def test_what_is_wrong_is_refused_each_time(query: bytes) -> None:
    for _ in range(2):
        with pytest.raises(InvalidParameter):
            query_of(asking(query), ClassifyQuery)


@pytest.mark.parametrize("rest", [b"", b"&model=" + b"x" * 1000], ids=["short", "long"])
def test_a_parameter_given_twice_is_named_each_time(rest: bytes) -> None:
    for _ in range(2):
        with pytest.raises(InvalidParameter, match="top_k is given 3 times") as refused:
            refuse_repeated(asking(b"priority=1&top_k=1&top_k=1&top_k=2" + rest))
        assert refused.value.field == "top_k"
    refuse_repeated(asking(b"priority=1&top_k=1" + rest))
